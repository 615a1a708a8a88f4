"""What changes between the arguments of a resource, path by path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rehearsal.accounts.behaviour import Resource


@dataclass(frozen=True)
class Change:
    """A change at `path` within the argument `name`; `kind` is ADD, DELETE or UPDATE."""

    name: str
    path: str
    kind: str
    replaces: bool


def differences(behaviour: Resource, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """The changes that matter to the cloud; an unknown value counts as one."""
    names = sorted({*old, *new})
    return [
        Change(name, path, kind, behaviour.replaces(name))
        for name in names
        if not behaviour.same(name, old.get(name), new.get(name))
        for path, kind in _paths(name, old.get(name), new.get(name))
    ]


def _paths(path: str, old: Any, new: Any) -> Iterator[tuple[str, str]]:
    if old is None or new is None:
        if old is not new:
            yield path, "ADD" if old is None else "DELETE"
    elif isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            step = f"{path}.{key}" if key.isidentifier() else f'{path}["{key}"]'
            yield from _paths(step, old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            before, after = (values[index] if index < len(values) else None for values in (old, new))
            yield from _paths(f"{path}[{index}]", before, after)
    elif old != new:
        yield path, "UPDATE"
