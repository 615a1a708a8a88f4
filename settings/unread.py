"""Settings in which one value can't be read: what a rule still finds in them does not rest on that value."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic.alias_generators import to_camel, to_snake

from settings.fields import Model, UnreadError
from settings.stack import GROUPS, Settings


class PartlyUnread(dict[str, Any]):
    """A mapping with one entry of which nobody knows more than its name; it comes last."""

    def __init__(self, known: Mapping[str, Any], unread: str) -> None:
        super().__init__(known)
        self[unread] = self.pop(unread, None)
        self._unread = unread

    def __getitem__(self, name: str) -> Any:
        return super().__getitem__(self._known(name))

    def get(self, name: str, default: Any = None) -> Any:
        """As of any mapping. Raises UnreadError for the entry that nobody knows."""
        return super().get(self._known(name), default)

    def _known(self, name: str) -> str:
        if name == self._unread:
            raise UnreadError(self._unread)
        return name

    def __iter__(self) -> Iterator[str]:
        # Without an own one, `{**mapping}` would not ask for the values one by one.
        return iter(list(super().keys()))

    def _values(self) -> Iterator[Any]:
        return (self[name] for name in self)

    def _items(self) -> Iterator[tuple[str, Any]]:
        return ((name, self[name]) for name in self)

    def _all(self, _: object) -> Any:
        raise UnreadError(self._unread)

    values, items, __or__, __ror__ = _values, _items, _all, _all  # type: ignore[assignment]


def without(settings: Settings, key: str, numbering: Mapping[str, tuple[int, ...]]) -> Settings:
    """The settings with what stands at `key` unread; unchanged where nothing can stand there.

    `numbering` is that of `Report.renumber`.
    """
    group = re.split(r"[.\[]", key)[0]
    model = getattr(settings, to_snake(group), None)
    if group not in GROUPS or not isinstance(model, Model):
        return settings
    rest = key.removeprefix(group)
    if model.mapping_field:
        rest = f".{model.mapping_field}{rest}"
    changes: dict[str, Any] = {to_snake(group): _Walk(numbering).unread(model, rest, key) if rest else _emptied(model)}
    return replace(settings, **changes)


def _emptied(model: Model) -> Model:
    """A model that says nothing but that it is there."""
    copy = model.model_copy()
    copy.__dict__.clear()
    return copy


@dataclass(frozen=True)
class _Walk:
    """Down to the value at fault, and back with copies of what holds it."""

    numbering: Mapping[str, tuple[int, ...]]

    def unread(self, value: Any, rest: str, key: str) -> Any:
        """A copy of `value` with what stands at `rest` below it unread; None when that is `value` as a whole.

        `key` is the whole path, that ends in `rest`.
        """
        if not rest:
            return _emptied(value) if isinstance(value, Model) else None
        if isinstance(value, Model):
            return self._in_model(value, rest, key)
        if isinstance(value, dict):
            return self._in_mapping(value, rest, key)
        return self._in_list(value, rest, key) if isinstance(value, tuple) else None

    def _in_model(self, model: Model, rest: str, key: str) -> Model:
        step = re.split(r"[.\[]", rest.removeprefix("."))[0]
        name = next((name for name in type(model).model_fields if to_camel(name) == step), None)
        if name is None:
            return model
        below = rest.removeprefix(".").removeprefix(step)
        inner = self.unread(model.__dict__.get(name), below, key) if below else None
        copy = model.model_copy()
        if inner is None:
            copy.__dict__.pop(name, None)
        else:
            copy.__dict__[name] = inner
        return copy

    def _in_mapping(self, mapping: dict[str, Any], rest: str, key: str) -> dict[str, Any]:
        rest = rest.removeprefix(".")
        # The names may have dots in them.
        names = [name for name in mapping if rest.startswith(name) and rest[len(name) :][:1] in ("", ".", "[")]
        if not names:
            return PartlyUnread(mapping, rest.split("[")[0])
        name = max(names, key=len)
        inner = self.unread(mapping[name], rest[len(name) :], key)
        return PartlyUnread(mapping, name) if inner is None else {**mapping, name: inner}

    def _in_list(self, items: tuple[Any, ...], rest: str, key: str) -> tuple[Any, ...] | None:
        step = re.match(r"\[(\d+)\]", rest)
        places = self.numbering.get(key.removesuffix(rest), tuple(range(len(items))))
        if step is None or int(step[1]) not in places:
            return None
        place = places.index(int(step[1]))
        inner = self.unread(items[place], rest[step.end() :], key)
        return None if inner is None else (*items[:place], inner, *items[place + 1 :])
