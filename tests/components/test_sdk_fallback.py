"""An SDK that looks otherwise than expected gives the classes of a plain import."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import indent
from types import ModuleType
from typing import Any

import pulumi
import pytest
from pulumi import _types

from components import sdk
from components.sdk import on_demand
from tests.support.generated_sdk import FILES, HEAD, INPUTS, NAMES, describe, forget, write

pytestmark = pytest.mark.unit

PACKAGE = "generated_sdk"

Change = Callable[[dict[str, str]], None]


@pytest.fixture
def generated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for the files of the package, which is forgotten in the end."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # texts change faster than the times of files
    yield tmp_path / PACKAGE
    forget(PACKAGE)


def in_place_of(file: str, old: str, new: str) -> Change:
    """Replace text in a file, which must have it."""

    def change(files: dict[str, str]) -> None:
        assert old in files[file]
        files[file] = files[file].replace(old, new)

    return change


def renamed(old: str, new: str) -> Change:
    """Give a module another name, everywhere."""

    def change(files: dict[str, str]) -> None:
        for name, text in files.items():
            files[name] = text.replace(f"from .{old} import", f"from .{new} import")
        files[f"{new}.py"] = files.pop(f"{old}.py")

    return change


def folder(module: str) -> Change:
    """Make a module a package."""

    def change(files: dict[str, str]) -> None:
        files[f"{module}/__init__.py"] = files.pop(f"{module}.py").replace("from . import", "from .. import")

    return change


def elsewhere(module: str) -> Change:
    """Let a module have its classes from another one."""

    def change(files: dict[str, str]) -> None:
        files["_nested.py"] = files[f"{module}.py"]
        files[f"{module}.py"] = f"{HEAD}\n__all__ = []\nfrom ._nested import *\nfrom ._nested import __all__\n"

    return change


def moved(decorator: str) -> Change:
    """Let Pulumi have a decorator in another place."""

    def change(files: dict[str, str]) -> None:
        for name, text in files.items():
            files[name] = text.replace(f"@pulumi.{decorator}", f"@_utilities.{decorator}")
        files["_utilities.py"] += f"from pulumi._types import {decorator}\n"

    return change


def outputs_missing(files: dict[str, str]) -> None:
    """Let `outputs` be another module's second name."""
    for name, text in files.items():
        files[name] = text.replace("from . import outputs", "from . import results as outputs")
    files["results.py"] = files.pop("outputs.py")


def lazy_by_itself(files: dict[str, str]) -> None:
    """Let the package import its modules when their classes are asked for."""
    for module in ("dns_record", "get_zone", "Zone"):
        in_place_of("__init__.py", f"from .{module} import *\n", "")(files)
    files["__init__.py"] += (
        "def __getattr__(name):\n"
        "    import importlib\n"
        "    for module in () if name.startswith('__') else ('dns_record', 'get_zone', 'Zone'):\n"
        "        found = importlib.import_module(f'{__name__}.{module}')\n"
        "        globals().update({each: getattr(found, each) for each in found.__all__})\n"
        "        if name in globals():\n"
        "            return globals()[name]\n"
        "    raise AttributeError(name)\n"
    )


def both(*changes: Change) -> Change:
    """One change after the other."""

    def change(files: dict[str, str]) -> None:
        for each in changes:
            each(files)

    return change


ALL = INPUTS[: INPUTS.index("@")]
DICT = "class PlaceArgsDict(TypedDict):\n    country_code: pulumi.Input[str]\n"

EXPECTED: dict[str, Change] = {
    "as today": lambda files: None,
    "__all__ in one line": in_place_of("_inputs.py", ALL, "\n__all__ = ['PlaceArgs', 'PlaceArgsDict', 'DataArgs']\n"),
    "__all__ last": in_place_of("_inputs.py", HEAD + INPUTS, HEAD + INPUTS.replace(ALL, "\n") + ALL),
    "no __all__": in_place_of("_inputs.py", ALL, "\n"),
}

OTHER_FILES: dict[str, Change] = {
    "no _inputs": renamed("_inputs", "_arguments"),
    "_inputs is a package": folder("_inputs"),
    "no outputs": outputs_missing,
    "outputs is a package": folder("outputs"),
    "names exported one by one": in_place_of(
        "__init__.py", "from ._inputs import *", "from ._inputs import DataArgs, PlaceArgs, PlaceArgsDict"
    ),
    "lazy by itself": lazy_by_itself,
}

OTHER_CONTENT: dict[str, Change] = {
    "no classes in _inputs": elsewhere("_inputs"),
    "no classes in outputs": elsewhere("outputs"),
    "class that fails without another": in_place_of(
        "_inputs.py", "class DataArgs:", "class DataArgs:\n    place_class = PlaceArgs"
    ),
    "class of outputs that fails without another": in_place_of(
        "outputs.py", "class Data(dict):", "class Data(dict):\n    place_class = Place"
    ),
    "class without a statement of its own": in_place_of(
        "_inputs.py", DICT, "PlaceArgsDict = TypedDict('PlaceArgsDict', {'country_code': str})\n"
    ),
    "class with another decorator": in_place_of(
        "_inputs.py", "@pulumi.input_type\nclass DataArgs", "@_utilities.note\n@pulumi.input_type\nclass DataArgs"
    ),
    "class by version of Python": both(
        in_place_of("_inputs.py", DICT, ""),
        in_place_of(
            "_inputs.py",
            ALL,
            f"{ALL}if sys.version_info >= (3, 11):\n{indent(DICT, '    ')}"
            "else:\n    class PlaceArgsDict:\n        pass\n\n",
        ),
    ),
    "class among the imports": both(
        in_place_of("_inputs.py", DICT, ""),
        in_place_of("_inputs.py", ALL, f"\nif True:\n{indent(DICT, '    ')}\n"),
    ),
    "function in place of a class": in_place_of("_inputs.py", DICT, "def PlaceArgsDict():\n    return {}\n"),
    "constant beside the classes": both(
        in_place_of("_inputs.py", ALL, f"{ALL}_PREFIX = 'country '\n\n"),
        in_place_of("_inputs.py", '"country_code", country_code', '"country_code", _PREFIX + country_code'),
    ),
    "type hints that are all text": in_place_of(
        "_inputs.py", "import sys\n", "from __future__ import annotations\nimport sys\n"
    ),
    "__all__ before the imports": in_place_of("_inputs.py", HEAD + ALL, ALL + HEAD),
    "resource in a file of another name": renamed("dns_record", "records"),
    "decorator of arguments moved": moved("input_type"),
    "decorator of outputs moved": moved("output_type"),
}


def plain(generated: Path) -> dict[str, Any]:
    """What a plain import gives."""
    found = describe(importlib.import_module(PACKAGE))
    forget(PACKAGE)
    return found


def assert_one_class_a_name(package: ModuleType, seen: dict[str, Any]) -> None:
    """Fail when a module of the package has something else under a name that was handed out."""
    for name, item in seen.items():
        assert getattr(package, name) is item
        for module in [module for other, module in sys.modules.items() if other.startswith(PACKAGE)]:
            held = vars(module).get(name, item)
            assert held is item or isinstance(held, ModuleType), (module, name)


def changed(change: Change) -> dict[str, str]:
    files = dict(FILES)
    change(files)
    return files


@pytest.mark.parametrize("change", EXPECTED.values(), ids=list(EXPECTED))
def test_package_of_the_expected_shape_is_made_on_demand(generated: Path, change: Change) -> None:
    write(generated, changed(change))
    expected = plain(generated)
    package = on_demand(PACKAGE)
    seen = {"DataArgs": package.DataArgs}
    assert f"{PACKAGE}.dns_record" not in sys.modules
    assert "PlaceArgsDict" not in vars(sys.modules[f"{PACKAGE}._inputs"])
    seen["ZoneArgs"] = package.ZoneArgs
    assert f"{PACKAGE}.dns_record" not in sys.modules
    seen |= {name: getattr(package, name) for name in NAMES}
    assert ModuleType not in {type(package), type(package.outputs), type(sys.modules[f"{PACKAGE}._inputs"])}
    assert describe(package) == expected
    assert_one_class_a_name(package, seen)


@pytest.mark.parametrize("change", OTHER_FILES.values(), ids=list(OTHER_FILES))
def test_package_of_other_files_is_imported_plainly(generated: Path, change: Change) -> None:
    write(generated, changed(change))
    expected = plain(generated)
    package = on_demand(PACKAGE)
    assert type(package) is ModuleType
    assert describe(package) == expected


@pytest.mark.parametrize("change", OTHER_CONTENT.values(), ids=list(OTHER_CONTENT))
def test_package_of_other_content_gives_the_classes_of_a_plain_import(
    generated: Path, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = changed(change)
    write(generated, files)
    expected = plain(generated)
    for name in ("input_type", "output_type"):
        if f"import {name}" in files["_utilities.py"]:
            monkeypatch.delattr(pulumi, name)
    package = on_demand(PACKAGE)
    seen = {name: getattr(package, name) for name in NAMES}
    assert describe(package) == expected
    assert not hasattr(package, "Missing")
    assert not hasattr(package.outputs, "Missing")
    assert describe(package) == expected
    assert_one_class_a_name(package, seen)


def test_classes_made_before_something_fails_stay_the_only_ones_of_their_name(generated: Path) -> None:
    late = "@pulumi.input_type\nclass LateArgs:\n    pass\n\nclass PlaceArgsDict(TypedDict):\n    assert LateArgs"
    write(generated, changed(in_place_of("_inputs.py", "class PlaceArgsDict(TypedDict):", late)))
    expected = plain(generated)
    package = on_demand(PACKAGE)
    seen = {name: getattr(package, name) for name in ("DnsRecord", "DnsRecordArgs", "PlaceArgs", "DataArgs")}
    place = package.outputs.Place
    assert f"{PACKAGE}.Zone" not in sys.modules
    assert package.PlaceArgsDict.__name__ == "PlaceArgsDict"
    assert describe(package) == expected
    assert_one_class_a_name(package, seen)
    assert package.outputs.Place is place
    assert _types.input_type_types(package.ZoneArgs) == {"data": seen["DataArgs"]}
    assert _types.input_type_types(seen["DataArgs"]) == {"place": seen["PlaceArgs"]}


def test_name_that_the_sdk_lacks_is_an_attribute_error_and_the_rest_stays(generated: Path) -> None:
    write(generated, FILES)
    package = on_demand(PACKAGE)
    seen = {name: getattr(package, name) for name in ("Zone", "PlaceArgs")}
    with pytest.raises(AttributeError, match="Missing"):
        _ = package.Missing
    with pytest.raises(AttributeError, match="Missing"):
        _ = package.outputs.Missing
    assert_one_class_a_name(package, seen | {name: getattr(package, name) for name in NAMES})


def test_package_that_is_not_installed_is_a_missing_module() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_sdk"):
        on_demand("no_such_sdk")


def test_package_that_was_imported_already_is_used_as_it_is(generated: Path) -> None:
    write(generated, FILES)
    package = importlib.import_module(PACKAGE)
    assert on_demand(PACKAGE) is package


def test_types_inside_a_nested_type_are_there_for_dicts_in_its_place(generated: Path) -> None:
    write(generated, FILES)
    record = on_demand(PACKAGE).DnsRecordArgs
    data = _types.input_type_types(record)["data"]
    assert [found.__name__ for found in _types.input_type_types(data).values()] == ["PlaceArgs"]


def test_pulumi_that_logs_in_another_way_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PULUMI_OPTION_DEBUG", raising=False)
    monkeypatch.delattr(pulumi.log, "debug")
    sdk.prepare()
    assert not hasattr(pulumi.log, "debug")
    monkeypatch.delattr(pulumi, "log")
    sdk.prepare()
