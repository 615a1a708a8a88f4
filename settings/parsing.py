"""From a config object to a model, with every fault as a Problem instead of the first one as an exception."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin

from pydantic import ValidationError
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined

from settings.fields import WITHOUT, Form, Model, Problem

Path = tuple[int | str, ...]
M = TypeVar("M", bound=Model)

HIDDEN = "(not shown)"
"""Stands where a value may be a secret."""

KEY_MARKER = "[key]"
"""The last step of the path of a fault in a mapping's key, as pydantic marks it."""

UNKNOWN = "(not shown: the key is not known)"
"""Stands where a value is nobody's, and may be anything."""

_SECRET_NAME = re.compile(
    r"token|secret|^pass|passw|passphrase|pwd|psk|md5|bearer|credential|private|key$", re.IGNORECASE
)
_LEFT_OUT = object()
"""Stands in a list for an item at fault, so that the others keep their places."""


@dataclass(frozen=True)
class Reading(Generic[M]):
    """What was made of a config object; all keys are relative to it.

    `model` holds what could be read, with defaults for the rest. `meant` are keys that were probably meant by unknown
    ones. `numbering` has, for each list of which items were left out, the places that the others have in the config.
    """

    model: M
    problems: list[Problem] = field(default_factory=list)
    meant: frozenset[str] = frozenset()
    numbering: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def parse_group(model: type[M], raw: Any) -> Reading[M]:
    """The model read from a config object, and its faults.

    Values at fault are left out, so that rules can judge the rest and all faults come in one report. Asking the model,
    or one in it, for a required value that was left out raises UnreadError.
    """
    if not isinstance(raw, dict):
        problem = Problem("", raw, _reason(raw, "dict_type"), "see docs/configuration.md")
        return replace(parse_group(model, {}), problems=[problem])
    raw = _with_text_keys(raw)
    if model.mapping_field:
        raw = {model.mapping_field: raw}
    try:
        return Reading(model.model_validate(raw))
    except ValidationError as error:
        return _read_rest(model, raw, error.errors())


def _read_rest(model: type[M], raw: Any, faults: list[ErrorDetails]) -> Reading[M]:
    """The model without the values at `faults`, which are removed from `raw`."""
    found = _causes(faults)
    likely = _meant(model, found)
    meant = {_key(path) for path in likely.values()}
    problems = [_problem(model, fault, likely.get(fault["loc"])) for fault in found]
    # A misspelt key is one fault: the right one is then missing only because of it.
    problems = [each for each, fault in zip(problems, found, strict=True) if not _follows(each.key, fault, meant)]
    stood_for: set[Path] = set()
    while True:
        for fault in reversed(faults):
            _make_readable(model, raw, fault, stood_for)
        try:
            result = model.model_validate(_compact(raw))
            break
        except ValidationError as error:
            faults = [{**fault, "loc": _original(raw, fault["loc"])} for fault in error.errors()]
    for path in stood_for:
        _forget(result, raw, path)
    start = f"{model.mapping_field}." if model.mapping_field else ""
    return Reading(
        result,
        [replace(problem, key=problem.key.removeprefix(start)) for problem in problems],
        frozenset(key.removeprefix(start) for key in meant),
        {key.removeprefix(start): places for key, places in _numbering(raw)},
    )


def _make_readable(model: type[Model], raw: Any, fault: ErrorDetails, stood_for: set[Path]) -> None:
    """Leave the value at fault out of `raw`; where it is required, its example stands for it, noted in `stood_for`."""
    path = _without_key_marker(fault["loc"])
    if fault["type"] != "missing":
        # An example that is not taken beside the rest: its object can't be judged, and goes as a whole.
        wrong = next((each for each in stood_for if path[: len(each)] == each), None)
        _leave_out(raw, wrong[:-1] if wrong else path)
        stood_for.discard(wrong or path)
        return
    holder = raw
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = _place(model, path).example
    stood_for.add(path)


def _forget(result: Any, raw: Any, path: Path) -> None:
    """Make what stands at `path` unread, where it is still there."""
    for step in path[:-1]:
        if isinstance(raw, list):
            if raw[int(step)] is _LEFT_OUT:
                return
            result = result[_places(raw).index(int(step))]
        elif isinstance(result, Model):
            name = next(name for name in type(result).model_fields if to_camel(name) == step)
            result = result.__dict__.get(name)
        else:
            result = result.get(step)
        raw = raw.get(step) if isinstance(raw, dict) else raw[int(step)]
        if result is None or raw is None:
            return
    result.__dict__.pop(next(name for name in type(result).model_fields if to_camel(name) == path[-1]), None)


def _causes(faults: list[ErrorDetails]) -> list[ErrorDetails]:
    """Without "too short" for a list that is short only because an item of it is at fault."""

    def follows(fault: ErrorDetails) -> bool:
        depth = len(fault["loc"])
        return any(other is not fault and other["loc"][:depth] == fault["loc"] for other in faults)

    return [fault for fault in faults if fault["type"] != "too_short" or not follows(fault)]


def _follows(key: str, fault: ErrorDetails, meant: set[str]) -> bool:
    return fault["type"] == "missing" and key in meant


def _meant(model: type[Model], faults: list[ErrorDetails]) -> dict[Path, Path]:
    """The keys that were probably meant by unknown ones: the nearest, else one that is missing beside it."""
    unknown = [fault["loc"] for fault in faults if fault["type"] == "extra_forbidden"]
    missing = [fault["loc"] for fault in faults if fault["type"] == "missing"]
    meant: dict[Path, Path] = {}
    for path in unknown:
        if near := nearest_key(str(path[-1]), map(to_camel, _place(model, path).container.model_fields)):
            meant[path] = (*path[:-1], near)
    for path in unknown:
        left = [each for each in missing if each[:-1] == path[:-1] and each not in meant.values()]
        if path not in meant and left:
            meant[path] = left[0]
    return meant


def unknown_key(key: str, known: Iterable[str], near: str | None = None) -> str:
    """The reason for refusing a key, with the one that was probably meant: the nearest known one when unset."""
    known = sorted(known)
    near = near or nearest_key(key, known)
    return "is not a known key; " + (f"did you mean {near}?" if near else f"known: {', '.join(known)}")


def nearest_key(key: str, known: Iterable[str]) -> str | None:
    """The known key that a misspelt one probably stands for."""
    names = {name.lower(): name for name in known}
    near = difflib.get_close_matches(key.replace("-", "").replace("_", "").lower(), names, n=1)
    return names[near[0]] if near else None


def concealed(value: Any, name: str = "") -> Any:
    """A value as it may be shown: without what is a secret by the name of its key.

    `name` is the key that holds the value itself.
    """
    if _SECRET_NAME.search(name):
        return HIDDEN
    if isinstance(value, dict):
        return {key: concealed(inner, str(key)) for key, inner in value.items()}
    return [concealed(item) for item in value] if isinstance(value, list) else value


def _with_text_keys(raw: Any) -> Any:
    """A copy whose keys are text, as Pulumi hands them over; YAML alone would read `1:` as a number."""
    if isinstance(raw, dict):
        return {str(key): _with_text_keys(value) for key, value in raw.items()}
    return [_with_text_keys(item) for item in raw] if isinstance(raw, list) else raw


def _without_key_marker(path: Path) -> Path:
    return path[:-1] if path and path[-1] == KEY_MARKER else path


def _leave_out(raw: Any, path: Path) -> None:
    """Remove the value at `path`; nothing happens when a parent of it went already."""
    for step in path[:-1]:
        try:
            raw = raw[step]
        except (KeyError, IndexError, TypeError):
            return
    if isinstance(raw, dict):
        raw.pop(path[-1], None)
    elif isinstance(raw, list) and isinstance(path[-1], int) and path[-1] < len(raw):
        raw[path[-1]] = _LEFT_OUT


def _compact(raw: Any) -> Any:
    """A copy without the places of list items that were left out."""
    if isinstance(raw, dict):
        return {key: _compact(value) for key, value in raw.items()}
    return [_compact(item) for item in raw if item is not _LEFT_OUT] if isinstance(raw, list) else raw


def _places(items: list[Any]) -> tuple[int, ...]:
    """The places of the items that were not left out."""
    return tuple(place for place, item in enumerate(items) if item is not _LEFT_OUT)


def _original(raw: Any, path: Path) -> Path:
    """The path in `raw` of what stands at `path` in its compact copy."""
    found: list[int | str] = []
    for step in path:
        if isinstance(raw, list) and isinstance(step, int):
            step = _places(raw)[step]  # noqa: PLW2901 - the same step, counted in `raw`
        found.append(step)
        try:
            raw = raw[step]
        except (KeyError, IndexError, TypeError):
            raw = None
    return tuple(found)


def _numbering(raw: Any, key: str = "") -> Iterator[tuple[str, tuple[int, ...]]]:
    """For each list with gaps, outer ones first: its key and the places of what is left of it."""
    if isinstance(raw, dict):
        for name, value in raw.items():
            yield from _numbering(value, f"{key}.{name}".removeprefix("."))
    elif isinstance(raw, list):
        if len(places := _places(raw)) < len(raw):
            yield key, places
        for place in places:
            yield from _numbering(raw[place], f"{key}[{place}]")


def _key(path: Path) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def _problem(model: type[Model], fault: ErrorDetails, meant: Path | None) -> Problem:
    path, value = _without_key_marker(fault["loc"]), fault["input"]
    key, place = _key(path), _place(model, fault["loc"])
    if fault["type"] == "missing":
        return Problem(key, None, "is required", place.example)
    if fault["type"] == "extra_forbidden":
        name = str(path[-1])
        reason = place.container.retired.get(name)
        if reason is None:
            near = str(meant[-1]) if meant else None
            reason = unknown_key(name, map(to_camel, place.container.model_fields), near)
        shown = concealed(value, name)
        # What a misspelt key holds is as harmless as what the right one does; what another holds may be a secret.
        return Problem(key, shown if shown == HIDDEN or meant else UNKNOWN, reason, WITHOUT)
    if fault["type"] == "string_pattern_mismatch":
        return Problem(key, value, place.words or "is not written as the example is", place.example)
    return Problem(key, value, _reason(value, fault["type"], fault["msg"], fault.get("ctx", {})), place.example)


_REASONS = {
    "model_type": "must be a mapping (key: value)",
    "dict_type": "must be a mapping (key: value)",
    "tuple_type": "must be a list",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
}
"""Reasons by pydantic's name of the fault."""

_BOUNDS = {
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be {ge} or more",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be {le} or less",
}


def _reason(value: Any, fault: str, message: str = "", context: Mapping[str, Any] | None = None) -> str:
    """The reason for refusing a value, from pydantic's name of the fault, its message and the message's parts."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is None:
        return "is empty (null)" + ("; a mapping without values is written {}" if fault in _MAPPING_TYPES else "")
    if fault == "value_error" and context:
        return str(context["error"])
    if fault == "string_type" and is_number:
        return "must be text; a number needs quotes to be text"
    if fault in _BOUNDS and context:
        return _BOUNDS[fault].format(**context) if is_number else "must be a number"
    return _REASONS.get(fault) or message.replace("Input should be", "must be").replace("Input should", "must")


_MAPPING_TYPES = ("model_type", "dict_type")


@dataclass(frozen=True)
class _Place:
    """What the models say of a value: the model that holds it, an example of it, and its form in words."""

    container: type[Model]
    example: Any = None
    words: str | None = None


def _place(model: type[Model], path: Path) -> _Place:
    """The place at `path`; with the key marker at its end, that of a name in a mapping."""
    annotation: Any = model
    place = _Place(model)
    for position, step in enumerate(path):
        annotation = plain_annotation(annotation)
        if isinstance(annotation, type) and issubclass(annotation, Model):
            known = next((info for name, info in annotation.model_fields.items() if to_camel(name) == step), None)
            if known is None:
                return replace(place, container=annotation)
            place = _Place(annotation, example_of(known), _words(known.metadata))
            annotation = known.annotation
        elif not (arguments := get_args(annotation)):
            return place
        elif path[position + 1 :] == (KEY_MARKER,):
            name = next(iter(place.example), None) if isinstance(place.example, dict) else _example_for(arguments[0])
            return replace(place, example=name, words=_words(_metadata(arguments[0])))
        else:
            annotation = arguments[1 if get_origin(annotation) is dict else 0]
            place = replace(place, example=_example_in(annotation, place.example), words=None)
        place = replace(place, words=_words(_metadata(annotation)) or place.words)
    return place


def _words(metadata: Iterable[Any]) -> str | None:
    return next((part.words for part in metadata if isinstance(part, Form)), None)


def _metadata(annotation: Any) -> Iterator[Any]:
    """What stands beside a type, and beside the type that may be None."""
    yield from getattr(annotation, "__metadata__", ())
    if type(None) in get_args(annotation):
        for choice in get_args(annotation):
            yield from getattr(choice, "__metadata__", ())


def plain_annotation(annotation: Any) -> Any:
    """An annotation without None and without metadata."""
    if hasattr(annotation, "__metadata__"):
        return plain_annotation(annotation.__origin__)
    choices = [choice for choice in get_args(annotation) if choice is not type(None)]
    optional = type(None) in get_args(annotation)
    return plain_annotation(choices[0]) if optional else annotation


def example_of(info: FieldInfo) -> Any:
    """A value that the field takes: its default when that says something, else the example it declares."""
    default = info.get_default()
    if isinstance(default, Model):
        return default.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(default, Enum):
        return default.value
    if isinstance(default, tuple) and default:
        return [item if isinstance(item, int) else str(item) for item in default]
    if default is not PydanticUndefined and default not in (None, (), {}):
        return default
    return info.examples[0] if info.examples else _example_for(info.annotation)


def _example_in(annotation: Any, container_example: Any) -> Any:
    """The example of a type, else an item of its container's example."""
    own = _example_for(annotation)
    if own is None and isinstance(container_example, dict) and container_example:
        return next(iter(container_example.values()))
    if own is None and isinstance(container_example, list) and container_example:
        return container_example[0]
    return own


def _example_for(annotation: Any) -> Any:
    """The example that a type declares, or one made from its items'; None when they have none."""
    for part in _metadata(annotation):
        if isinstance(part, FieldInfo) and part.examples:
            return part.examples[0]
    plain = plain_annotation(annotation)
    items = [_example_for(item) for item in get_args(plain) if item is not Ellipsis]
    if get_origin(plain) is tuple and items[0] is not None:
        return [items[0]]
    if get_origin(plain) is dict and None not in items:
        return {items[0]: items[1]}
    if get_origin(plain) is Literal:
        return get_args(plain)[0]
    return next(iter(plain)).value if isinstance(plain, type) and issubclass(plain, Enum) else None
