"""The SDK loaded class by class gives the same classes as the SDK loaded whole, for a fraction of the time."""

import json
import re
import subprocess
import sys

import pytest

from tests.support.configs import PROJECT

pytestmark = pytest.mark.unit

DESCRIBE = """
import importlib, inspect, json, sys
import pulumi
from pulumi import _types
from components.sdk import on_demand
names, whole = json.loads(sys.argv[1]), sys.argv[2] == "whole"
package = importlib.import_module("pulumi_cloudflare") if whole else on_demand("pulumi_cloudflare")
seen = {}

def describe(cls):
    key = f"{cls.__module__}.{cls.__qualname__}"
    if key in seen:
        return
    seen[key] = None
    if _types.is_input_type(cls):
        names, types = _types.input_type_py_to_pulumi_names(cls), _types.input_type_types(cls)
    elif issubclass(cls, pulumi.Resource):
        names, types = _types.resource_py_to_pulumi_names(cls), _types.resource_types(cls)
    else:
        names, types = {}, {}
    seen[key] = [names, {name: str(found) for name, found in types.items()}]
    for found in types.values():
        inside = _types.unwrap_type(found) if found else None
        for inner in [inside, *getattr(inside, "__args__", ())]:
            if inspect.isclass(inner) and inner.__module__.startswith("pulumi_cloudflare"):
                describe(getattr(package if inner.__name__.endswith("Args") else package.outputs, inner.__name__))

for name in names:
    found = getattr(package, name)
    if inspect.isclass(found):
        describe(found)
    else:
        seen[name] = str(inspect.signature(found))
print(json.dumps(seen, sort_keys=True))
"""


def used_names() -> list[str]:
    """The names of the Cloudflare SDK that the program's text mentions."""
    text = "\n".join(path.read_text() for path in [*(PROJECT / "components").rglob("*.py"), PROJECT / "__main__.py"])
    return sorted({*re.findall(r"\bcloudflare\.([A-Z]\w+|get_\w+)", text)})


def python(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout


def test_classes_made_on_demand_are_those_of_the_sdk() -> None:
    names = json.dumps(used_names())
    demanded, whole = (json.loads(python(DESCRIBE, names, how)) for how in ("demand", "whole"))
    assert len(whole) > 30, "the comparison covers hardly anything"
    assert demanded == whole


def test_name_that_the_sdk_does_not_have_is_an_attribute_error() -> None:
    names = "hasattr(cloudflare, 'DnsRecrd'), hasattr(cloudflare, 'DnsRecord')"
    code = f"from components.sdk import cloudflare\nprint({names})"
    assert python(code).split() == ["False", "True"]


def test_stack_without_cloudflare_never_loads_its_sdk() -> None:
    code = "import sys\nimport components.outputs\nprint([name for name in sys.modules if 'pulumi_cloudflare' in name])"
    assert python(code).strip() == "[]"


def test_sdk_that_was_imported_whole_is_used_as_it_is() -> None:
    code = (
        "import pulumi_cloudflare\nfrom components.sdk import cloudflare\n"
        "print(cloudflare.DnsRecord is pulumi_cloudflare.DnsRecord)"
    )
    assert python(code).strip() == "True"


def test_messages_for_debugging_are_sent_only_when_they_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import pulumi\nfrom pulumi.runtime import settings\nimport components.sdk\n"
        "class Engine:\n    def Log(self, request): print(request.message)\n"
        "settings.SETTINGS.engine = Engine()\n"
        "pulumi.log.debug('one step')\npulumi.log.warn('a warning')"
    )
    monkeypatch.delenv("PULUMI_OPTION_DEBUG", raising=False)
    assert python(code).splitlines() == ["a warning"]
    monkeypatch.setenv("PULUMI_OPTION_DEBUG", "true")
    assert python(code).splitlines() == ["one step", "a warning"]
