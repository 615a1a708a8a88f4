"""The example of a fault is a value as one writes it at its key, and with it the fault is gone."""

import re
from copy import deepcopy
from typing import Any

import pytest

from settings.fields import WITHOUT, Problem
from tests.support.faults import problems
from tests.support.single_faults import SINGLE, Fault, faulty

pytestmark = pytest.mark.unit


def corrected(raw: dict[str, Any], problem: Problem) -> dict[str, Any]:
    """The configuration with the example in the place of what is at fault: a value, or the name of an entry."""
    raw = deepcopy(raw)
    at: Any = raw
    rest = problem.key
    while True:
        if isinstance(at, list):
            step: Any = int(rest[1 : rest.index("]")])
            rest = rest[rest.index("]") + 1 :].removeprefix(".")
        else:
            # Names may have dots in them; a key that is not there yet has none.
            names = [name for name in at if re.match(rf"{re.escape(name)}($|[.\[])", rest)]
            step = max(names, key=len, default=rest.partition(".")[0])
            rest = rest.removeprefix(step).removeprefix(".")
        if not rest:
            break
        at = at[step] if isinstance(at, list) else at.setdefault(step, {})
    if problem.example == WITHOUT:
        del at[step]
    elif problem.value == step and isinstance(problem.example, str):
        at[problem.example] = at.pop(step)
    else:
        at[step] = problem.example
    return raw


@pytest.mark.parametrize("single", SINGLE, ids=lambda fault: fault.reported)
def test_example_puts_the_fault_right(single: Fault) -> None:
    raw = faulty(single)
    (problem,) = problems(raw)
    assert problem.example is not None, "null is no example"
    left = problems(corrected(raw, problem))
    assert [each for each in left if (each.key, each.reason) == (problem.key, problem.reason)] == []
    wrong_form = [
        each.reason for each in left if each.key.startswith(problem.key) and each.reason.startswith("must be")
    ]
    assert wrong_form == [], "the example is no value in the form of its key"
