"""Faults of settings: which a change to the shipped configuration causes, and how to make one."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from settings.errors import ConfigError
from settings.fields import Problem
from settings.load import parse
from tests.support.configs import PROJECT, STAND_IN_SECRETS, charts_without_files, merged, settings_with, stack_config

KeyPath = tuple[str | int, ...]
"""Where a value stands: keys and places in lists, from the top."""

EVERY_LAYER: dict[str, Any] = merged(
    stack_config(), yaml.safe_load((PROJECT / "tests/profiles/every-layer.yaml").read_text())
)
"""The shipped configuration with something in every layer."""


def problems(raw: dict[str, Any]) -> list[Problem]:
    """What is wrong with the groups of a stack; nothing where they are right."""
    try:
        parse(raw, charts_without_files, STAND_IN_SECRETS)
    except ConfigError as error:
        return error.problems
    return []


def the_only_problem(change: dict[str, Any], base: dict[str, Any] | None = None) -> Problem:
    """What is wrong with a changed configuration, the shipped one or `base`; it must be one thing."""
    found = problems(merged(base or stack_config(), change))
    assert len(found) == 1, [(problem.key, problem.reason) for problem in found]
    return found[0]


def below(*path: str, value: Any) -> dict[str, Any]:
    """A change of one value."""
    for step in reversed(path):
        value = {step: value}
    return dict(value)


def paths(value: Any, at: KeyPath = ()) -> Iterator[KeyPath]:
    """Where each value stands, mappings and lists included."""
    if at:
        yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in items:
        yield from paths(inner, (*at, step))


def key_of(path: KeyPath) -> str:
    """A path as reports write it."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def holder(raw: Any, path: KeyPath) -> Any:
    """The mapping or list that the value at a path stands in."""
    for step in path[:-1]:
        raw = raw[step]
    return raw


def shown(change: dict[str, Any]) -> str:
    """The report on a change to the shipped configuration."""
    with pytest.raises(ConfigError) as caught:
        settings_with(change, stack_config())
    return str(caught.value)


def faults_of(change: dict[str, Any], base: dict[str, Any] | None = None) -> dict[str, str]:
    """Key to reason of each problem that a change to the core of the shipped configuration, or to `base`, causes.

    Every problem must have an example of what would pass.
    """
    with pytest.raises(ConfigError) as caught:
        settings_with(change, base)
    reasons: dict[str, list[str]] = {}
    for problem in caught.value.problems:
        assert problem.example not in (None, ""), f"{problem.key}: no example of what would pass"
        reasons.setdefault(problem.key, []).append(problem.reason)
    return {key: "; ".join(found) for key, found in reasons.items()}
