"""Pulumi's generated SDKs, of which only the classes in use are made.

A generated package defines all of its classes when it is imported: two seconds and 170 MB for Cloudflare's thousands,
half a second for those of Kubernetes, in every preview. Here a package is imported without its `__init__`, a resource's
module when its class is first asked for, and of the two modules that hold the nested types (`_inputs`, `outputs`) only
the classes that are used (ADR 0007). What comes out are the SDK's own classes; type checkers see the plain packages.

A package whose files look otherwise than expected is imported plainly. Where that shows only later, its modules are
executed whole in place, and the classes that were made by then stay theirs: nobody ever meets two classes of one name.
ANTON_PLAIN_SDK=1 in the environment turns all of this off, and the silence about debugging as well.
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
from contextlib import suppress
from functools import cached_property
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from itertools import takewhile
from pathlib import Path
from types import CodeType, FunctionType, ModuleType, new_class
from typing import TYPE_CHECKING, Any, TypedDict

import pulumi

__all__ = ["cloudflare"]

_PLAIN = bool(os.environ.get("ANTON_PLAIN_SDK"))

_TYPE_NAME = re.compile(r"\b[A-Z]\w*\b(?<!Dict)")

# What begins the first line that is not among the imports of a file of nested types; and what is named at its top level
# apart from its imports and classes.
_HEAD_ENDS = ("__all__", "class ", "@")
_USUAL = {"__all__", "__annotations__", "MYPY", "dict", "str", "input_type", "output_type"}


class _OnDemand(ModuleType):
    """A module of a generated package of which something is made when it is first asked for."""

    def __init__(self, spec: ModuleSpec) -> None:
        super().__init__(spec.name)
        places = spec.submodule_search_locations
        self.__dict__.update(__spec__=spec, __file__=spec.origin, __package__=spec.name if places else spec.parent)
        self._made: dict[str, Any] = {}
        sys.modules[spec.name] = self

    def __getattr__(self, name: str) -> Any:
        # The import system asks for underscored names, and early on our own are not there yet.
        if name.startswith("_"):
            raise AttributeError(f"module {self.__name__} has no {name}")
        try:
            return self._find(name)
        except Exception:  # whatever it is: the file executed whole knows the name, or knows that there is none
            self._load_whole()
        return getattr(self, name)

    def _find(self, name: str) -> Any:
        """Make what is asked for; raises any exception where that does not work."""
        raise NotImplementedError

    def _load_whole(self) -> None:
        """Become what a plain import gives, but for the classes that were handed out already: these stay."""
        self.__class__ = ModuleType  # type: ignore[assignment]
        importlib.reload(self)
        self.__dict__.update(self._made)


class _Definitions(_OnDemand):
    """A generated module of classes, each of which is made by itself."""

    @cached_property
    def _bodies(self) -> dict[str, CodeType]:
        """What makes each class, by name: from the bytecode that Python keeps of the file.

        Raises ImportError when the file holds anything but imports, `__all__` and plain classes.
        """
        path = str(self.__file__)
        code = SourceFileLoader(self.__name__, path).get_code(self.__name__)
        with Path(path).open(encoding="utf-8") as file:
            head = compile("".join(takewhile(lambda line: not line.startswith(_HEAD_ENDS), file)), path, "exec")
        classes = [inner for inner in _within(code) if not inner.co_flags]  # functions have flags
        bodies = {body.co_name: body for body in classes}
        understood = _USUAL.union(bodies, head.co_names)
        if not code or len(bodies) < len(classes) or _within(head) or not understood.issuperset(code.co_names):
            raise ImportError(f"{path} is laid out otherwise")
        exec(head, self.__dict__)  # noqa: S102 - the SDK's own imports
        return bodies

    def __contains__(self, name: str) -> bool:
        return name in self._bodies

    def _find(self, name: str) -> Any:
        self.make([name])
        return self._made[name]

    def make(self, names: Iterable[str]) -> None:
        """Make the named classes as far as they are this module's, and those that their type hints name.

        Pulumi resolves the hints when instances are sent, and those of a nested type when a dict comes in its place.
        """
        for name in names:
            if name in self and name not in self._made:
                self._made[name] = self.__dict__[name] = self._class(name)
                self.make(_strings(self._bodies[name]))

    def _class(self, name: str) -> Any:
        """What the file's `class` statement makes; there are three kinds of them."""

        def fill(namespace: dict[str, Any]) -> None:
            exec(self._bodies[name], self.__dict__, namespace)  # noqa: S102 - the SDK's own class

        if self.__name__.endswith("outputs"):
            return pulumi.output_type(new_class(name, (dict,), exec_body=fill))
        if name.endswith("Dict"):
            return new_class(name, (TypedDict,), exec_body=fill)
        return pulumi.input_type(new_class(name, exec_body=fill))


def _within(code: CodeType | None) -> list[CodeType]:
    """The code of the classes or functions that `code` defines."""
    return [constant for constant in code.co_consts if isinstance(constant, CodeType)] if code else []


def _strings(code: CodeType) -> Iterator[str]:
    """The text constants of a class, among them the names in its type hints."""
    yield from (constant for constant in code.co_consts if isinstance(constant, str))
    for inner in _within(code):
        yield from _strings(inner)


class _Package(_OnDemand):
    """A generated package whose resources are imported one by one."""

    def __init__(self, spec: ModuleSpec) -> None:
        """Raises any exception when the files are not the expected ones; nothing is registered then."""
        places = list(spec.submodule_search_locations or ())
        text = Path(str(spec.origin)).read_text(encoding="utf-8")
        parts = [PathFinder.find_spec(f"{spec.name}.{part}", places) for part in ("_inputs", "outputs")]
        inputs, outputs = (part for part in parts if part and isinstance(part.loader, SourceFileLoader))
        lazy = "__getattr__" in text  # the SDK loads in a way of its own
        nested = inputs.submodule_search_locations or outputs.submodule_search_locations
        if lazy or nested or not {"from ._inputs import *", "from . import outputs"} <= set(text.splitlines()):
            raise ImportError(f"{spec.name} is laid out otherwise")
        super().__init__(spec)
        self.__dict__.update(__path__=places, _folder=places[0])
        self.__dict__.update(_inputs=_Definitions(inputs), outputs=_Definitions(outputs))

    def __setattr__(self, name: str, value: Any) -> None:
        # The import system binds a submodule to its package; in Kubernetes' packages class and file have one name.
        super().__setattr__(name, vars(value).get(name, value) if isinstance(value, ModuleType) else value)

    def _find(self, name: str) -> Any:
        if name in self._inputs:
            value = getattr(self._inputs, name)
        else:
            file = self._file_of(name)
            self._inputs.make(set(_TYPE_NAME.findall(file.read_text(encoding="utf-8"))))
            value = getattr(importlib.import_module(f"{self.__name__}.{file.stem}"), name)
        self.__dict__[name] = value
        return value

    def _load_whole(self) -> None:
        for module in (self._inputs, self.outputs):
            if isinstance(module, _OnDemand):
                module._load_whole()
        super()._load_whole()

    def _file_of(self, name: str) -> Path:
        """The file that defines a resource, its arguments or a function; raises StopIteration when there is none."""
        base = re.sub(r"(Args|ArgsDict|InitArgs|_output)$", "", name)
        snake = re.sub(r"(?<!^)(?=[A-Z])", "_", base).lower()
        files = (Path(self._folder, f"{candidate}.py") for candidate in (name, base, snake))
        return next(file for file in files if file.is_file())


def on_demand(name: str) -> ModuleType:
    """The generated package `name`, made of what is asked for; as it is when somebody imported it already.

    Raises ModuleNotFoundError when it is not installed.
    """
    if name in sys.modules:
        return sys.modules[name]
    spec = None if _PLAIN else importlib.util.find_spec(name)
    if spec:
        with suppress(Exception):  # what does not look as expected
            return _Package(spec)
    return importlib.import_module(name)


async def begin() -> None:
    """Let the registrations begin; the last thing of a program's `pulumi.run`.

    Pulumi then finds them under way and awaits each in turn. Else it waits for all outputs at once, and again for all
    that are left whenever one is there: the square of their number (`pulumi.runtime.stack.wait_for_rpcs`).
    """
    # Python would search all that is there for garbage before it ends, half a second in which Pulumi waits.
    atexit.register(gc.freeze)
    await asyncio.sleep(0)


def _say_nothing(*_: Any, **__: Any) -> None:
    """Takes what `pulumi.log.debug` takes."""


def prepare() -> None:
    """Let the Kubernetes packages that components import be made on demand; called before the first of them.

    The SDK tells Pulumi of four steps of every resource and waits for the answer each time, a quarter of the program's
    time; what was told is dropped unless messages for debugging were asked for. So they must be, in a way that reaches
    the program: PULUMI_OPTION_DEBUG=true in place of `--debug`.
    """
    if _PLAIN:
        return
    log: Any = getattr(pulumi, "log", None)
    if isinstance(getattr(log, "debug", None), FunctionType) and not os.environ.get("PULUMI_OPTION_DEBUG"):
        log.debug = _say_nothing
    for package in (
        "admissionregistration.v1",
        "apps.v1",
        "core.v1",
        "helm.v3",
        "meta.v1",
        "networking.v1",
        "policy.v1",
    ):
        with suppress(ModuleNotFoundError):  # told by the component that imports it
            on_demand(f"pulumi_kubernetes.{package}")


if TYPE_CHECKING:
    import pulumi_cloudflare as cloudflare
else:

    class _Cloudflare:
        """Even finding the package waits until a stack uses it."""

        def __getattr__(self, name: str) -> Any:
            return getattr(on_demand("pulumi_cloudflare"), name)

    cloudflare = _Cloudflare()
