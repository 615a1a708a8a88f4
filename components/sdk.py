"""Pulumi's generated SDKs, of which only the classes in use are made.

A generated package defines all of its classes when it is imported: two seconds and 170 MB for Cloudflare's thousands,
half a second for those of Kubernetes, in every preview. Here a package is imported without its `__init__`, a resource's
module when its class is first asked for, and of the two modules that hold the nested types (`_inputs`, `outputs`) only
the classes that are used (ADR 0007). What comes out are the SDK's own classes; type checkers see the plain packages.
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

_NESTED = re.compile(r"\b[A-Z]\w*Args\b")


class _Definitions(ModuleType):
    """A generated module of classes, each of which is made when it is first asked for."""

    def __init__(self, spec: ModuleSpec) -> None:
        super().__init__(spec.name)
        sys.modules[spec.name] = self
        self.__dict__.update(__spec__=spec, __file__=spec.origin, __package__=spec.parent)
        self._texts: dict[str, str] | None = None
        self._complete: set[str] = set()

    def texts(self) -> dict[str, str]:
        """The text of each class by name; the file is read when that is first wanted."""
        if self._texts is None:
            head, *classes = Path(str(self.__file__)).read_text(encoding="utf-8").split("\nclass ")
            self._texts = {}
            before = head
            for text in classes:
                decorator = before.rpartition("\n")[2]
                # What stands between two classes belongs to the second: a decorator, or a condition around a TypedDict.
                own = re.split(r"\n(?=@|if )", text, maxsplit=1)[0]
                self._texts[re.split(r"\W", text, maxsplit=1)[0]] = f"{decorator}\nclass {own}\n"
                before = text
            self._execute(head.rpartition("\n")[0])
            self.__dict__.pop("__all__", None)  # `import *` takes what is made, not what could be
        return self._texts

    def __getattr__(self, name: str) -> Any:
        # Early on the underscored names are not there yet, and must not be looked for in themselves.
        if name.startswith("_") or name not in self.texts():
            raise AttributeError(f"module {self.__name__} has no {name}")
        return self.use(name)

    def use(self, name: str) -> Any:
        """A class whose instances will be sent: Pulumi then resolves the names in its type hints, so they exist too."""
        self.make([name])
        if name not in self._complete:
            self._complete.add(name)
            self.make(_NESTED.findall(self.texts()[name]))
        return self.__dict__[name]

    def make(self, names: Iterable[str]) -> None:
        """Make the named classes, as far as they are this module's and not made yet."""
        for name in names:
            if name in self.texts() and name not in self.__dict__:
                self._execute(self.texts()[name])

    def _execute(self, text: str) -> None:
        exec(compile(text, str(self.__file__), "exec"), self.__dict__)  # noqa: S102 - the SDK's own text


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
        nested = name in self._inputs.texts()
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


def prepare() -> None:
    """Let the Kubernetes packages that components import be made on demand; called before the first of them."""
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
