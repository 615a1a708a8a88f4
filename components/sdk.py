"""Pulumi's generated SDKs, of which only the classes in use are made.

A generated package defines all of its classes when it is imported: two seconds and 170 MB for Cloudflare's thousands,
half a second for those of Kubernetes, in every preview. Here a package is imported without its `__init__`, a resource's
module when its class is first asked for, and of the two modules that hold the nested types (`_inputs`, `outputs`) only
the classes that are used (ADR 0007). What comes out are the SDK's own classes; type checkers see the plain packages.
"""

import asyncio
import atexit
import gc
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec, SourceFileLoader
from itertools import takewhile
from pathlib import Path
from types import CodeType, ModuleType, new_class
from typing import TYPE_CHECKING, Any, TypedDict

import pulumi

__all__ = ["cloudflare"]

_NESTED = re.compile(r"\b[A-Z]\w*Args\b")


class _Definitions(ModuleType):
    """A generated module of classes, each of which is made when it is first asked for."""

    def __init__(self, spec: ModuleSpec) -> None:
        super().__init__(spec.name)
        sys.modules[spec.name] = self
        self.__dict__.update(__spec__=spec, __file__=spec.origin, __package__=spec.parent)
        self._bodies: dict[str, CodeType] | None = None
        self._complete: set[str] = set()

    def bodies(self) -> dict[str, CodeType]:
        """What makes each class, by name: from the bytecode that Python keeps of the file, read when first wanted."""
        if self._bodies is None:
            path = str(self.__file__)
            code = SourceFileLoader(self.__name__, path).get_code(self.__name__)
            self._bodies = {body.co_name: body for body in _within(code)}
            with Path(path).open(encoding="utf-8") as file:
                head = "".join(takewhile(lambda line: not line.startswith("__all__"), file))
            exec(compile(head, path, "exec"), self.__dict__)  # noqa: S102 - the SDK's own imports
        return self._bodies

    def __getattr__(self, name: str) -> Any:
        # Early on the underscored names are not there yet, and must not be looked for in themselves.
        if name.startswith("_") or name not in self.bodies():
            raise AttributeError(f"module {self.__name__} has no {name}")
        return self.use(name)

    def use(self, name: str) -> Any:
        """A class whose instances will be sent: Pulumi then resolves the names in its type hints, so they exist too."""
        self.make([name])
        if name not in self._complete:
            self._complete.add(name)
            self.make(_strings(self.bodies()[name]))
        return self.__dict__[name]

    def make(self, names: Iterable[str]) -> None:
        """Make the named classes, as far as they are this module's and not made yet."""
        for name in names:
            if name in self.bodies() and name not in self.__dict__:
                self.__dict__[name] = self._class(name, self.bodies()[name])

    def _class(self, name: str, body: CodeType) -> Any:
        """What the file's `class` statement makes; there are three kinds of them."""

        def fill(namespace: dict[str, Any]) -> None:
            exec(body, self.__dict__, namespace)  # noqa: S102 - the SDK's own class

        if name.endswith("Dict"):
            return new_class(name, (TypedDict,), exec_body=fill)
        if self.__name__.endswith("outputs"):
            return pulumi.output_type(new_class(name, (dict,), exec_body=fill))
        return pulumi.input_type(new_class(name, exec_body=fill))


def _within(code: CodeType | None) -> list[CodeType]:
    """The code of the classes or functions that `code` defines."""
    return [constant for constant in code.co_consts if isinstance(constant, CodeType)] if code else []


def _strings(code: CodeType) -> Iterator[str]:
    """The text constants of a class, among them the names in its type hints."""
    yield from (constant for constant in code.co_consts if isinstance(constant, str))
    for inner in _within(code):
        yield from _strings(inner)


class _Package(ModuleType):
    """A generated package whose resources are imported one by one."""

    def __init__(self, spec: ModuleSpec) -> None:
        super().__init__(spec.name)
        sys.modules[spec.name] = self
        places = list(spec.submodule_search_locations or [])
        self.__dict__.update(__spec__=spec, __file__=spec.origin, __package__=spec.name, __path__=places)
        self._folder = Path(places[0])
        self._inputs = self._definitions("_inputs")
        self.__dict__["outputs"] = self._definitions("outputs")  # a plain assignment would look into it: see below

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "outputs":
            raise AttributeError(name)  # what the import system asks for while these modules are made
        nested = name in self._inputs.bodies()
        module = None if nested else self._module_of(name)
        if not nested and not module:
            raise AttributeError(f"module {self.__name__} has no {name}")
        if module:
            self._inputs.make(_NESTED.findall((self._folder / f"{module}.py").read_text(encoding="utf-8")))
            value = getattr(importlib.import_module(f"{self.__name__}.{module}"), name)
        else:
            value = self._inputs.use(name)
        self.__dict__[name] = value
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        # The import system binds a submodule to its package; in Kubernetes' packages class and file have one name.
        super().__setattr__(name, getattr(value, name, value) if isinstance(value, ModuleType) else value)

    def _definitions(self, name: str) -> _Definitions:
        path = self._folder / f"{name}.py"
        return _Definitions(ModuleSpec(f"{self.__name__}.{name}", None, origin=str(path)))

    def _module_of(self, name: str) -> str | None:
        """The file that defines a resource, its arguments or a function; None for nested types."""
        base = re.sub(r"(Args|ArgsDict|InitArgs|_output)$", "", name)
        snake = re.sub(r"(?<!^)(?=[A-Z])", "_", base).lower()
        for candidate in (name, base, snake):
            if (self._folder / f"{candidate}.py").is_file():
                return candidate
        return None


def on_demand(name: str) -> ModuleType:
    """The generated package `name`, made of what is asked for; as it is when somebody imported it already.

    Raises ModuleNotFoundError when it is not installed.
    """
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"{name} is not installed", name=name)
    return _Package(spec)


async def begin() -> None:
    """Let the registrations begin; the last thing of a program's `pulumi.run`.

    Pulumi then finds them under way and awaits each in turn. Else it waits for all outputs at once, and again for all
    that are left whenever one is there: the square of their number (`pulumi.runtime.stack.wait_for_rpcs`).
    """
    # Python would search all that is there for garbage before it ends, half a second in which Pulumi waits.
    atexit.register(gc.freeze)
    await asyncio.sleep(0)


def _say_nothing(msg: str, resource: pulumi.Resource | None = None, **_: Any) -> None:
    """Takes what `pulumi.log.debug` takes."""


def prepare() -> None:
    """Let the Kubernetes packages that components import be made on demand; called before the first of them.

    The SDK tells Pulumi of four steps of every resource and waits for the answer each time, a quarter of the program's
    time; what was told is dropped unless messages for debugging were asked for. So they must be, in a way that reaches
    the program: PULUMI_OPTION_DEBUG=true in place of `--debug`.
    """
    if not os.environ.get("PULUMI_OPTION_DEBUG"):
        pulumi.log.debug = _say_nothing  # type: ignore[assignment]
    for package in (
        "admissionregistration.v1",
        "apps.v1",
        "core.v1",
        "helm.v3",
        "meta.v1",
        "networking.v1",
        "policy.v1",
    ):
        on_demand(f"pulumi_kubernetes.{package}")


if TYPE_CHECKING:
    import pulumi_cloudflare as cloudflare
else:

    class _Cloudflare:
        """Even finding the package waits until a stack uses it."""

        def __getattr__(self, name: str) -> Any:
            return getattr(on_demand("pulumi_cloudflare"), name)

    cloudflare = _Cloudflare()
