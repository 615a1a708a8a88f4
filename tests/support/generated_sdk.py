"""A small SDK in the shape of Pulumi's generated ones, written as files, and what its classes look like."""

import importlib
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import pulumi
from pulumi import _types

HEAD = """\
import sys
import pulumi
from typing import Optional
if sys.version_info >= (3, 11):
    from typing import NotRequired, TypedDict
else:
    from typing_extensions import NotRequired, TypedDict
from . import _utilities
"""

INPUTS = """
__all__ = [
    'PlaceArgs',
    'PlaceArgsDict',
    'DataArgs',
]

@pulumi.input_type
class PlaceArgs:
    def __init__(__self__, *, country_code: pulumi.Input[str]):
        pulumi.set(__self__, "country_code", country_code)

    @property
    @pulumi.getter(name="countryCode")
    def country_code(self) -> pulumi.Input[str]:
        return pulumi.get(self, "country_code")

class PlaceArgsDict(TypedDict):
    country_code: pulumi.Input[str]

@pulumi.input_type
class DataArgs:
    def __init__(__self__, *, place: Optional[pulumi.Input['PlaceArgs']] = None):
        if place is not None:
            pulumi.set(__self__, "place", place)

    @property
    @pulumi.getter
    def place(self) -> Optional[pulumi.Input['PlaceArgs']]:
        return pulumi.get(self, "place")
"""

OUTPUTS = """
from . import outputs

__all__ = ['Place', 'Data']

@pulumi.output_type
class Place(dict):
    def __init__(__self__, *, country_code: str):
        pulumi.set(__self__, "country_code", country_code)

    @property
    @pulumi.getter(name="countryCode")
    def country_code(self) -> str:
        return pulumi.get(self, "country_code")

@pulumi.output_type
class Data(dict):
    def __init__(__self__, *, place: 'outputs.Place'):
        pulumi.set(__self__, "place", place)

    @property
    @pulumi.getter
    def place(self) -> 'outputs.Place':
        return pulumi.get(self, "place")
"""

RESOURCE = """
from . import outputs
from ._inputs import *

__all__ = ['CLASSArgs', 'CLASS']

@pulumi.input_type
class CLASSArgs:
    def __init__(__self__, *, data: Optional[pulumi.Input['DataArgs']] = None):
        pulumi.set(__self__, "data", data)

    @property
    @pulumi.getter
    def data(self) -> Optional[pulumi.Input['DataArgs']]:
        return pulumi.get(self, "data")

@pulumi.type_token("fake:index/CLASS:CLASS")
class CLASS(pulumi.CustomResource):
    def __init__(__self__, name, data: Optional[pulumi.Input['DataArgs']] = None, opts=None):
        properties = CLASSArgs.__new__(CLASSArgs)
        properties.__dict__["data"] = data
        super().__init__("fake:index/CLASS:CLASS", name, properties, opts)

    @property
    @pulumi.getter
    def data(self) -> pulumi.Output[Optional['outputs.Data']]:
        return pulumi.get(self, "data")
"""

FUNCTION = """
__all__ = ['GetZoneResult', 'get_zone']

@pulumi.output_type
class GetZoneResult:
    def __init__(__self__, id: str):
        pulumi.set(__self__, "id", id)

    @property
    @pulumi.getter
    def id(self) -> str:
        return pulumi.get(self, "id")

def get_zone(id: str) -> GetZoneResult:
    return GetZoneResult(id)
"""

FILES = {
    "__init__.py": dedent("""\
        from . import _utilities
        import typing
        # Export this package's modules as members:
        from .dns_record import *
        from .get_zone import *
        from .Zone import *
        from ._inputs import *
        from . import outputs
    """),
    "_utilities.py": "def note(item):\n    item.__qualname__ = 'Noted'\n    return item\n",
    "_inputs.py": HEAD + INPUTS,
    "outputs.py": HEAD + OUTPUTS,
    "dns_record.py": HEAD + RESOURCE.replace("CLASS", "DnsRecord"),
    "get_zone.py": HEAD + FUNCTION,
    "Zone.py": HEAD + RESOURCE.replace("CLASS", "Zone"),  # Kubernetes' files are named like their classes
}

NAMES = ("DnsRecord", "PlaceArgs", "ZoneArgs", "get_zone", "PlaceArgsDict", "DnsRecordArgs", "DataArgs", "Zone")
"""All that the package exports, but for a class whose file is named after something else."""

LATE_NAME = "GetZoneResult"


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write a package of `files` into a new folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def forget(package: str) -> None:
    """Let Python forget that a package and its modules were imported."""
    for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        del sys.modules[name]
    importlib.invalidate_caches()


def describe(package: Any) -> dict[str, Any]:
    """What the exported classes and the nested types of the outputs look like to Pulumi."""
    found: dict[str, Any] = {"a country": package.PlaceArgs(country_code="nl").country_code}
    found |= {f"outputs.{name}": _describe(getattr(package.outputs, name)) for name in ("Data", "Place")}
    return found | {name: _describe(getattr(package, name)) for name in (*NAMES, LATE_NAME)}


def _describe(item: Any) -> list[Any]:
    where = [item.__module__, item.__qualname__]
    if not inspect.isclass(item):
        return [*where, str(inspect.signature(item))]
    if _types.is_input_type(item):
        return [*where, _types.input_type_py_to_pulumi_names(item), str(_types.input_type_types(item))]
    if _types.is_output_type(item):
        return [*where, str(_types.output_type_types(item)), item.__mro__[1].__name__]
    if issubclass(item, pulumi.Resource):
        return [*where, str(_types.resource_types(item))]
    return [*where, sorted(item.__annotations__)]
