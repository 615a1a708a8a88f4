"""From a config object to a model, with every fault as a Problem instead of the first one as an exception."""

import difflib
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import replace
from enum import Enum
from typing import Any, TypeVar, get_args, get_origin

from pydantic import ValidationError, create_model
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined

from components.fields import Model, Problem

Path = tuple[int | str, ...]
M = TypeVar("M", bound=Model)


def parse_group(model: type[M], raw: Any) -> tuple[M, list[Problem]]:
    """The model read from a config object, and its faults with keys relative to that object.

    Values at fault are left out until the rest is valid, so that rules can judge the rest and all faults come in one
    report. Asking the model for a required value that was left out raises UnreadError.
    """
    problems: list[Problem] = []
    if not isinstance(raw, dict):
        problems, raw = [Problem("", raw, "must be an object", "see docs/configuration.md")], {}
    if model.mapping_field:
        raw = {model.mapping_field: raw}
    rest, reader, unread = deepcopy(raw), model, set[str]()
    while True:
        try:
            result = reader.model_validate(rest)
            break
        except ValidationError as error:
            faults = _causes(error.errors())
        problems = problems or [_problem(model, fault) for fault in faults]
        for fault in reversed(faults):
            path = _without_key_marker(fault["loc"])
            if fault["type"] != "missing":
                _leave_out(rest, path)
            elif len(path) > 1:
                # A node without its address, say, can't be judged: it goes as a whole.
                _leave_out(rest, path[:-1])
            else:
                unread.add(next(name for name in model.model_fields if to_camel(name) == path[0]))
        if unread:
            optional: dict[str, Any] = dict.fromkeys(unread, (Any, None))
            reader = create_model(model.__name__, __base__=model, **optional)
    for name in unread:
        del result.__dict__[name]
    if model.mapping_field:
        prefix = f"{model.mapping_field}."
        problems = [replace(problem, key=problem.key.removeprefix(prefix)) for problem in problems]
    return result, problems


def _causes(faults: list[ErrorDetails]) -> list[ErrorDetails]:
    """Without "too short" for a list that is short only because an item of it is at fault."""

    def follows(fault: ErrorDetails) -> bool:
        depth = len(fault["loc"])
        return any(other is not fault and other["loc"][:depth] == fault["loc"] for other in faults)

    return [fault for fault in faults if fault["type"] != "too_short" or not follows(fault)]


def unknown_key(key: str, known: Iterable[str]) -> str:
    """The reason for refusing a key, with the nearest known one."""
    known = list(known)
    names = {name.lower(): name for name in known}
    near = difflib.get_close_matches(key.replace("-", "").replace("_", "").lower(), names, n=1)
    return "is not a known key" + (
        f"; did you mean {names[near[0]]}?" if near else f"; known: {', '.join(sorted(known))}"
    )


def _without_key_marker(path: Path) -> Path:
    """pydantic marks a fault in a mapping's key by a last step `[key]`."""
    return path[:-1] if path and path[-1] == "[key]" else path


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
        raw.pop(path[-1])


def _problem(model: type[Model], fault: ErrorDetails) -> Problem:
    path = _without_key_marker(fault["loc"])
    key = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")
    container, example = _declared(model, path)
    if fault["type"] == "missing":
        return Problem(key, "(none)", "is required", example)
    if fault["type"] == "extra_forbidden":
        name = str(path[-1])
        reason = container.retired.get(name) or unknown_key(name, map(to_camel, container.model_fields))
        return Problem(key, fault["input"], reason, "without this key")
    return Problem(key, fault["input"], _reason(fault), example)


def _reason(fault: ErrorDetails) -> str:
    context = fault.get("ctx", {})
    if fault["type"] == "value_error":
        return str(context["error"])
    if fault["type"] == "string_pattern_mismatch":
        return f"does not have the form {context['pattern']}"
    plain = {
        "model_type": "must be a mapping (key: value)",
        "dict_type": "must be a mapping (name: value)",
        "tuple_type": "must be a list",
        "string_type": "must be text; a number needs quotes to be text",
        "string_too_short": "must not be empty",
        "too_short": "must not be empty",
    }
    return plain.get(fault["type"]) or fault["msg"].replace("Input should be", "must be").replace(
        "Input should", "must"
    )


def _declared(model: type[Model], path: Path) -> tuple[type[Model], Any]:
    """The model that holds the last step of `path`, and an example of a value there."""
    annotation: Any = model
    container = model
    example: Any = None
    for step in path:
        annotation = plain_annotation(annotation)
        if isinstance(annotation, type) and issubclass(annotation, Model):
            container = annotation
            field = next((info for name, info in annotation.model_fields.items() if to_camel(name) == step), None)
            if field is None:
                break
            annotation, example = field.annotation, example_of(field)
        else:  # a mapping or a list: its item
            annotation = get_args(annotation)[1 if get_origin(annotation) is dict else 0]
            example = _example_in(annotation, example)
    return container, example


def plain_annotation(annotation: Any) -> Any:
    """An annotation without None and without metadata."""
    if hasattr(annotation, "__metadata__"):
        return plain_annotation(annotation.__origin__)
    choices = [choice for choice in get_args(annotation) if choice is not type(None)]
    optional = type(None) in get_args(annotation)
    return plain_annotation(choices[0]) if optional else annotation


def example_of(field: FieldInfo) -> Any:
    """A value that the field takes: its default when that says something, else the example it declares."""
    default = field.get_default()
    if isinstance(default, Model):
        return default.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(default, Enum):
        return default.value
    if isinstance(default, tuple) and default:
        return [item if isinstance(item, int) else str(item) for item in default]
    if default is not PydanticUndefined and default not in (None, (), {}):
        return default
    return field.examples[0] if field.examples else _example_in(field.annotation, None)


def _example_in(annotation: Any, container_example: Any) -> Any:
    """The example in an annotation's metadata, else an item of the container's example."""
    for part in (annotation, *get_args(annotation)):
        for info in getattr(part, "__metadata__", ()):
            if isinstance(info, FieldInfo) and info.examples:
                return info.examples[0]
    if isinstance(container_example, dict) and container_example:
        return next(iter(container_example.values()))
    if isinstance(container_example, list) and container_example:
        return container_example[0]
    return container_example
