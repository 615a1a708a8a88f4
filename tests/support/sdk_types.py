"""Checks a recorded resource's arguments against the installed SDK's own types.

Mocks accept anything: a misspelt nested key, a missing property or a number where text belongs. The real provider would
refuse it, in the middle of an update.
"""

import collections.abc
import enum
import importlib
import inspect
import re
import types
import typing
from collections.abc import Iterator
from typing import Any

from pulumi import _types
from pulumi.runtime import rpc

from components.sdk import on_demand
from tests.support.recorder import Registration

KUBERNETES = re.compile(r"kubernetes:(\w+)(?:\.k8s\.io)?/v1:\w+")
"""Types of the built-in Kubernetes APIs, which are all v1, with their group. API servers judge custom resources."""


def assert_arguments_fit(registration: Registration) -> None:
    """Fail with every argument that the SDK does not know, misses, or has with another type.

    Custom resources, releases, providers and components are not judged.
    """
    arguments = _arguments_class(registration.type)
    faults = list(_faults_of(arguments, registration.inputs, "")) if arguments else []
    assert not faults, f"{registration.type} {registration.name}:\n" + "\n".join(faults)


def secret_paths(value: Any, path: str = "") -> set[str]:
    """Where secrets stand in a resource's inputs, as dotted paths."""
    if rpc.is_rpc_secret(value):
        return {path}
    if isinstance(value, dict):
        inner = [secret_paths(item, f"{path}.{key}".removeprefix(".")) for key, item in value.items()]
    elif isinstance(value, list):
        inner = [secret_paths(item, f"{path}[{index}]") for index, item in enumerate(value)]
    else:
        inner = []
    return set().union(*inner)


def without_secrets(value: Any) -> Any:
    """The same with every secret as `(secret)`: what may be shown, and must not hold one in plain."""
    if rpc.is_rpc_secret(value):
        return "(secret)"
    if isinstance(value, dict):
        return {key: without_secrets(item) for key, item in value.items()}
    return [without_secrets(item) for item in value] if isinstance(value, list) else value


def _arguments_class(token: str) -> type | None:
    package, _, rest = token.partition(":")
    module = None
    if package == "cloudflare":
        module = on_demand("pulumi_cloudflare")
    elif package == "tailscale":
        module = importlib.import_module("pulumi_tailscale")
    elif match := KUBERNETES.fullmatch(token):
        module = importlib.import_module(f"pulumi_kubernetes.{match[1]}.v1")
    found = getattr(module, f"{rest.rpartition(':')[2]}Args") if module else None
    assert found is None or isinstance(found, type)
    return found


def _faults_of(cls: type, value: Any, path: str) -> Iterator[str]:
    """Faults of the object `value` as an argument of class `cls`."""
    if not isinstance(value, dict):
        yield f"  {path}: {value!r} is no {cls.__name__}"
        return
    names = _types.input_type_py_to_pulumi_names(cls)
    known = _types.input_type_types(cls)
    for key, item in value.items():
        here = f"{path}.{key}".removeprefix(".")
        if key in known:
            yield from _faults(known[key], item, here)
        else:
            yield f"  {here}: {cls.__name__} knows no such argument, only {', '.join(sorted(known))}"
    parameters = list(inspect.signature(cls).parameters.values())
    for name in (each.name for each in parameters if each.default is inspect.Parameter.empty):
        if value.get(names[name]) is None:
            yield f"  {path}.{names[name]}: {cls.__name__} requires it".replace("  .", "  ")


def _faults(declared: Any, value: Any, path: str) -> Iterator[str]:
    """Faults of one value; `declared` is the SDK's type, without what only says that it may be an output."""
    declared, value = _types.unwrap_type(declared), rpc.unwrap_rpc_secret(value)
    if declared is Any or value is None:
        return
    origin = typing.get_origin(declared)
    if origin is typing.Literal:
        if value not in typing.get_args(declared):
            yield f"  {path}: {value!r} is none of {typing.get_args(declared)}"
    elif origin in {typing.Union, types.UnionType}:
        choices = [list(_faults(choice, value, path)) for choice in typing.get_args(declared)]
        yield from () if [] in choices else choices[0]
    elif origin is collections.abc.Sequence and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _faults(typing.get_args(declared)[0], item, f"{path}[{index}]")
    elif origin is collections.abc.Mapping and isinstance(value, dict):
        for key, item in value.items():
            yield from _faults(typing.get_args(declared)[1], item, f"{path}.{key}")
    elif isinstance(declared, type) and _types.is_input_type(declared):
        yield from _faults_of(declared, value, path)
    elif not _is_a(declared, value):
        yield f"  {path}: {value!r} is no {getattr(declared, '__name__', declared)}"


def _is_a(declared: Any, value: Any) -> bool:
    """Whether a plain value has a plain type; numbers come back from the wire as floats."""
    if declared in {int, float}:
        whole = declared is float or float(value).is_integer() if isinstance(value, int | float) else False
        return whole and not isinstance(value, bool)
    if isinstance(declared, type) and issubclass(declared, enum.Enum):
        return value in {member.value for member in declared}
    return isinstance(declared, type) and isinstance(value, declared)
