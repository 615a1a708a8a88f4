"""What an installed SDK says about a resource: its arguments with their types, its outputs, its import id.

The SDK's classes are read as text, never imported, which would take two seconds for Cloudflare's. What is found for one
resource is kept as a small JSON file in the project's cache, so that a stand-in starts quickly.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rehearsal.accounts.wire import Secret, Unknown

if TYPE_CHECKING:
    import ast

PROJECT = Path(__file__).resolve().parents[2]

_FORMAT = 1  # of the cached files: raise it when what is extracted changes
_CLASS = re.compile(r"^(?:@\S+\n)*class (\w+)", re.MULTILINE)
_SECRET_OUTPUTS = re.compile(r"additional_secret_outputs=\[([^\]]*)\]")
_IMPORT = re.compile(r"\$ pulumi import \S+ \S+ '?([^'\n]+?)'?$", re.MULTILINE)
_SCALARS = {"str": "str", "int": "int", "float": "float", "bool": "bool"}
_ACCEPTED: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float), "bool": (bool,)}
_SPOKEN = {"str": "a string", "int": "a whole number", "float": "a number", "bool": "a boolean"}
_SPOKEN |= {"list": "a list", "map": "a map", "object": "an object"}


class UnknownResourceError(Exception):
    """The installed SDK has no such resource."""


@dataclass(frozen=True)
class Schema:
    """One resource.

    `inputs` and each of `objects` map a property to its type and whether it is required. A type is a scalar's name,
    `any`, or a mapping with the one key `list`, `map`, `object` or `union`. `outputs` maps output properties to types,
    `secrets` are those that the SDK marks, `import_format` is how its documentation writes the import id.
    """

    token: str
    inputs: Mapping[str, Mapping[str, Any]]
    outputs: Mapping[str, Any]
    objects: Mapping[str, Mapping[str, Mapping[str, Any]]]
    secrets: list[str] = field(default_factory=list)
    import_format: str = ""

    @property
    def computed(self) -> list[str]:
        """The output properties that no argument sets."""
        return [name for name in self.outputs if name not in self.inputs]

    def faults(self, inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """What the SDK's types do not allow in `inputs`, as (path, reason)."""
        yield from self._object_faults(inputs, self.inputs, "")

    def _object_faults(
        self, value: Mapping[str, Any], properties: Mapping[str, Mapping[str, Any]], path: str
    ) -> Iterator[tuple[str, str]]:
        given = {name for name, item in value.items() if item is not None}
        for name in sorted(given - properties.keys()):
            yield f"{path}{name}", f"is not known here{_nearest(name, properties)}"
        for name, known in properties.items():
            if name in given:
                yield from self._faults(value[name], known["type"], f"{path}{name}")
            elif known["required"]:
                yield f"{path}{name}", "is required and missing"

    def _faults(self, value: Any, wanted: Any, path: str) -> Iterator[tuple[str, str]]:
        if isinstance(value, Secret):
            yield from self._faults(value.value, wanted, path)
            return
        if isinstance(value, Unknown) or wanted == "any":
            return
        match wanted:
            case {"union": choices}:
                if all(any(self._faults(value, choice, path)) for choice in choices):
                    yield path, f"fits none of the types that the SDK allows, is {_spoken(value)}"
            case {"list": item} if isinstance(value, list):
                for index, element in enumerate(value):
                    yield from self._faults(element, item, f"{path}[{index}]")
            case {"map": item} if isinstance(value, dict):
                for key, element in value.items():
                    yield from self._faults(element, item, f"{path}.{key}")
            case {"object": name} if isinstance(value, dict):
                yield from self._object_faults(value, self.objects[name], f"{path}.")
            case _:
                kind = wanted if isinstance(wanted, str) else next(iter(wanted))
                fits = isinstance(value, _ACCEPTED.get(kind, ())) and (kind == "bool") == isinstance(value, bool)
                if not fits:
                    yield path, f"must be {_SPOKEN[kind]}, is {_spoken(value)}"


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    import difflib  # noqa: PLC0415 - only where something is wrong

    close = difflib.get_close_matches(name, known, 1, 0.6)
    return f", did you mean {close[0]}?" if close else ""


def _spoken(value: Any) -> str:
    match value:
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case dict():
            return "an object"
    return "nothing"


class Sdk:
    """An installed SDK, `cloudflare` or `tailscale`.

    Raises FileNotFoundError where it is not installed.
    """

    def __init__(self, name: str, site_packages: Path, cache: Path | None = None) -> None:
        self.name = name
        self._folder = site_packages / f"pulumi_{name}"
        self.version: str = json.loads((self._folder / "pulumi-plugin.json").read_bytes())["version"]
        self._cache = (cache or PROJECT / ".cache/stand-in") / f"{name}-{self.version}-{_FORMAT}"
        self._known: dict[str, Schema] = {}

    def schema(self, token: str) -> Schema:
        """The resource of a type token. Raises UnknownResourceError."""
        if token not in self._known:
            file = self._cache / f"{token.rsplit(':', 1)[-1]}.json"
            try:
                data = json.loads(file.read_bytes())
            except (FileNotFoundError, ValueError):
                data = self._extracted(token)
                _write(file, json.dumps(data))
            self._known[token] = Schema(**data)
        return self._known[token]

    def _extracted(self, token: str) -> dict[str, Any]:
        import ast  # noqa: PLC0415 - once a resource: what is found is kept

        text = self._text_of(token)
        classes = {node.name: node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)}
        resource = next(
            node
            for node in classes.values()
            if any(isinstance(mark, ast.Call) and _first_argument(mark) == token for mark in node.decorator_list)
        )
        # The second name is in use where a nested type has the first.
        arguments = classes.get(f"{resource.name}InitArgs") or classes[f"{resource.name}Args"]
        inputs, mentioned = _arguments(arguments)
        secrets = _SECRET_OUTPUTS.search(text)
        import_id = _IMPORT.search(text)
        return {
            "token": token,
            "inputs": inputs,
            "outputs": {name: _type_of(annotation, []) for name, annotation in _getters(resource)},
            "objects": self._objects(mentioned),
            "secrets": re.findall(r"\w+", secrets[1]) if secrets else [],
            "import_format": import_id[1] if import_id else "",
        }

    def _text_of(self, token: str) -> str:
        """The text of the file that defines the resource."""
        name = token.rsplit(":", 1)[-1]
        first = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
        marker = f'@pulumi.type_token("{token}")'
        for file in (self._folder / f"{first}.py", *sorted(self._folder.glob("*.py"))):
            if file.is_file() and marker in (text := file.read_text(encoding="utf-8")):
                return text
        raise UnknownResourceError(f"pulumi_{self.name} {self.version} has no resource {token}")

    @cached_property
    def _nested(self) -> dict[str, str]:
        """The text of each class of nested arguments."""
        text = (self._folder / "_inputs.py").read_text(encoding="utf-8")
        found = list(_CLASS.finditer(text))
        ends = [match.start() for match in found[1:]] + [len(text)]
        return {match[1]: text[match.start() : end] for match, end in zip(found, ends, strict=True)}

    def _objects(self, mentioned: list[str]) -> dict[str, Any]:
        import ast  # noqa: PLC0415

        objects: dict[str, Any] = {}
        while mentioned:
            name = mentioned.pop()
            if name not in objects:
                objects[name], more = _arguments(ast.parse(self._nested[name]).body[0])
                mentioned += more
        return objects


def _arguments(node: ast.AST) -> tuple[dict[str, Any], list[str]]:
    """The properties of an `*Args` class by the names that the provider knows, and the classes they mention."""
    import ast  # noqa: PLC0415

    assert isinstance(node, ast.ClassDef)
    names = {python: name for name, python in _names(node)}
    mentioned: list[str] = []
    properties: dict[str, Any] = {}
    init = next(item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__")
    for argument, default in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True):
        type_ = _type_of(argument.annotation, mentioned)
        properties[names[argument.arg]] = {"type": type_, "required": default is None}
    return properties, mentioned


def _names(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """(provider's name, Python's name) of each property of a class."""
    import ast  # noqa: PLC0415

    for item in node.body:
        if not isinstance(item, ast.FunctionDef):
            continue
        for mark in item.decorator_list:
            called = mark.func if isinstance(mark, ast.Call) else mark
            if isinstance(called, ast.Attribute) and called.attr == "getter":
                yield (_keyword(mark, "name") if isinstance(mark, ast.Call) else item.name), item.name


def _getters(node: ast.ClassDef) -> Iterator[tuple[str, Any]]:
    import ast  # noqa: PLC0415

    annotations = {item.name: item.returns for item in node.body if isinstance(item, ast.FunctionDef) and item.returns}
    for name, python in _names(node):
        yield name, annotations.get(python)


def _keyword(call: ast.Call, name: str) -> str:
    import ast  # noqa: PLC0415

    return next(str(ast.literal_eval(keyword.value)) for keyword in call.keywords if keyword.arg == name)


def _first_argument(call: ast.Call) -> str:
    import ast  # noqa: PLC0415

    return str(ast.literal_eval(call.args[0])) if call.args else ""


def _type_of(node: Any, mentioned: list[str]) -> Any:  # noqa: PLR0911 - one for each form
    """The type that an annotation stands for; classes of nested arguments are added to `mentioned`."""
    import ast  # noqa: PLC0415

    match node:
        case ast.Attribute(attr=name):
            return _SCALARS.get(name, "any")
        case ast.Constant(value=str() as name):
            if not name.endswith("Args"):
                return "any"  # a nested output
            mentioned.append(name)
            return {"object": name}
        case ast.Subscript(value=ast.Attribute(attr=kind) | ast.Name(id=kind), slice=inner):
            parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            match kind:
                case "Sequence":
                    return {"list": _type_of(parts[0], mentioned)}
                case "Mapping":
                    return {"map": _type_of(parts[1], mentioned)}
                case "Union":
                    return {"union": [_type_of(part, mentioned) for part in parts]}
            return _type_of(parts[0], mentioned)  # Input, Output, Optional
    return "any"


def _write(file: Path, text: str) -> None:
    """Write a cached file as a whole; where the cache can't be written, go without."""
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(file)
    except OSError:
        unfinished.unlink(missing_ok=True)
