"""How the faults of a configuration are said."""

import json
from typing import Any

import pulumi
import yaml

from settings.fields import Problem
from settings.parsing import concealed
from settings.stack import NAMESPACE


class ConfigError(pulumi.RunError):
    """All faults of a configuration; `problems` holds them one by one."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(
            f"The configuration has {count}; nothing was changed.\n\n" + "\n\n".join(map(_shown, problems)) + "\n"
        )


def _shown(problem: Problem) -> str:
    value = "(none)" if problem.value is None else _as_yaml(concealed(problem.value))
    is_prose = isinstance(problem.example, str) and " " in problem.example
    return (
        f"  {NAMESPACE}:{problem.key}\n"
        f"    value:   {value if len(value) <= 200 else value[:200] + ' ...'}\n"
        f"    reason:  {problem.reason}\n"
        f"    example: {problem.example if is_prose else _as_yaml(problem.example)}"
    )


def _as_yaml(value: Any) -> str:
    """As one would write it in the stack file: text that YAML would read as something else keeps its quotes."""
    return value if isinstance(value, str) and _is_plain_text(value) else json.dumps(value, default=str)


def _is_plain_text(text: str) -> bool:
    try:
        return isinstance(yaml.safe_load(text), str)
    except yaml.YAMLError:
        return False
