"""Pulumi's generated SDKs, of which only the classes in use are made.

A generated package defines all of its classes when it is imported: two seconds and 170 MB for Cloudflare's thousands,
in every preview. Here a package is imported without its `__init__`, a resource's module when its class is first asked
for, and of the two modules that hold the nested types (`_inputs`, `outputs`) only the classes that are mentioned (ADR
0007). What comes out are the SDK's own classes; type checkers see the plain packages.
"""

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["cloudflare"]

_CLASS = re.compile(r"^(?:@\S+\n)*class (\w+)", re.MULTILINE)
_WORD = re.compile(r"\w+")


class _Definitions(ModuleType):
    """A generated module of classes, each of which is made when it is first asked for."""

    def __init__(self, spec: ModuleSpec) -> None:
        super().__init__(spec.name)
        sys.modules[spec.name] = self
        self.__dict__.update(__spec__=spec, __file__=spec.origin, __package__=spec.parent)
        self._text = Path(str(spec.origin)).read_text(encoding="utf-8")
        found = list(_CLASS.finditer(self._text))
        ends = [match.start() for match in found[1:]] + [len(self._text)]
        self._places = {match[1]: (match.start(), end) for match, end in zip(found, ends, strict=True)}
        self._execute(0, found[0].start() if found else len(self._text))
        del self.__dict__["__all__"]  # `import *` takes what is made, not what could be

    def __getattr__(self, name: str) -> Any:
        # Early on the underscored names are not there yet, and must not be looked for in themselves.
        if name.startswith("_") or name not in self._places:
            raise AttributeError(f"module {self.__name__} has no {name}")
        self.make([name])
        return self.__dict__[name]

    def make_mentioned(self, text: str) -> None:
        """Make the classes of this module that a program text mentions."""
        self.make(self._mentioned(text))

    def make(self, names: Iterable[str]) -> None:
        """Make the named classes, and those that they mention: type hints are resolved by name when they are used."""
        wanted = list(names)
        while wanted:
            name = wanted.pop()
            if name not in self.__dict__:
                start, end = self._places[name]
                self._execute(start, end)
                wanted += self._mentioned(self._text[start:end])

    def _mentioned(self, text: str) -> list[str]:
        # The SDK offers a TypedDict beside each class, which only type checkers look at.
        return [name for name in set(_WORD.findall(text)) if name in self._places and not name.endswith("ArgsDict")]

    def _execute(self, start: int, end: int) -> None:
        exec(compile(self._text[start:end], str(self.__file__), "exec"), self.__dict__)  # noqa: S102 - the SDK's own text


class _Package(ModuleType):
    """A generated package whose resources are imported one by one."""

    def __init__(self, spec: ModuleSpec) -> None:
        super().__init__(spec.name)
        sys.modules[spec.name] = self
        places = list(spec.submodule_search_locations or [])
        self.__dict__.update(__spec__=spec, __file__=spec.origin, __package__=spec.name, __path__=places)
        self._folder = Path(places[0])
        self.outputs = self._definitions("outputs")
        self._inputs = self._definitions("_inputs")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "outputs":
            raise AttributeError(name)  # what the import system asks for while these modules are made
        module = self._module_of(name)
        if module:
            self._inputs.make_mentioned((self._folder / f"{module}.py").read_text(encoding="utf-8"))
            value = getattr(importlib.import_module(f"{self.__name__}.{module}"), name)
        else:
            value = getattr(self._inputs, name)
        self.__dict__[name] = value
        return value

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


if TYPE_CHECKING:
    import pulumi_cloudflare as cloudflare
else:

    class _Cloudflare:
        """Even finding the package waits until a stack uses it."""

        def __getattr__(self, name: str) -> Any:
            return getattr(on_demand("pulumi_cloudflare"), name)

    cloudflare = _Cloudflare()
