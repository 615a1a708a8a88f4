"""The SDK loaded class by class gives the same classes as the SDK loaded whole, for a fraction of the time."""

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.configs import PROJECT
from tests.support.generated_sdk import FILES, write

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

asked = {name: getattr(package, name) for name in names}
for name, found in asked.items():
    assert getattr(package, name) is found
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


@pytest.fixture(scope="module")
def whole() -> str:
    """What the classes look like after a plain import, which takes two seconds."""
    return python(DESCRIBE, json.dumps(used_names()), "whole")


def test_classes_made_on_demand_are_those_of_the_sdk(whole: str) -> None:
    assert len(json.loads(whole)) > 30, "the comparison covers hardly anything"
    assert json.loads(python(DESCRIBE, json.dumps(used_names()), "demand")) == json.loads(whole)


def test_sdk_with_a_file_of_another_name_gives_the_same_classes(
    whole: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Path(str(importlib.metadata.distribution("pulumi_cloudflare").locate_file("pulumi_cloudflare")))
    copy = tmp_path / "pulumi_cloudflare"
    copy.mkdir()
    for path in original.iterdir():
        (copy / path.name).symlink_to(path)
    (copy / "dns_record.py").rename(copy / "records.py")
    (copy / "__init__.py").unlink()
    exports = (original / "__init__.py").read_text().replace("from .dns_record import", "from .records import")
    (copy / "__init__.py").write_text(exports)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")  # it would go to the SDK's own
    found = python(DESCRIBE, json.dumps(used_names()), "demand")
    assert "pulumi_cloudflare.records" in found
    assert json.loads(found.replace("pulumi_cloudflare.records", "pulumi_cloudflare.dns_record")) == json.loads(whole)


def test_only_the_modules_in_use_are_imported() -> None:
    code = (
        "import sys\nfrom components.sdk import cloudflare\ncloudflare.DnsRecord, cloudflare.outputs.DnsRecordData\n"
        "print({name.partition('.')[2] for name in sys.modules if name.startswith('pulumi_cloudflare.')})"
    )
    assert ast.literal_eval(python(code)) == {"_inputs", "_utilities", "outputs", "dns_record"}


def test_stack_without_cloudflare_never_loads_its_sdk() -> None:
    code = "import sys\nimport components.outputs\nprint([name for name in sys.modules if 'pulumi_cloudflare' in name])"
    assert python(code).strip() == "[]"


def test_kubernetes_sdk_loaded_whole_later_keeps_the_classes_in_use() -> None:
    code = (
        "import components, sys, types, pulumi_kubernetes\n"
        "from pulumi_kubernetes.core.v1 import PodSpecArgs, Secret\n"
        "from pulumi_kubernetes.core import v1\n"
        "print(type(v1) is types.ModuleType, 'pulumi_kubernetes.core.v1.Pod' in sys.modules)\n"
        "print(hasattr(v1, 'Missing'), type(v1) is types.ModuleType, 'pulumi_kubernetes.core.v1.Pod' in sys.modules)\n"
        "print(v1.Secret is Secret, v1.PodSpecArgs is PodSpecArgs, v1 is sys.modules['pulumi_kubernetes.core.v1'])\n"
        "print(v1.ConfigMap.__name__, pulumi_kubernetes.core.v1 is v1)"
    )
    assert python(code).splitlines() == ["False False", "False True True", "True True True", "ConfigMap True"]


ENGINE = """
import pulumi
from pulumi.runtime import settings
class Engine:
    def Log(self, request): print(request.message)
settings.SETTINGS.engine = Engine()
import components
pulumi.log.debug('one step')
pulumi.log.warn('a warning')
"""


def test_messages_for_debugging_are_sent_only_when_they_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PULUMI_OPTION_DEBUG", raising=False)
    assert python(ENGINE).splitlines() == ["a warning"]
    monkeypatch.setenv("PULUMI_OPTION_DEBUG", "true")
    assert python(ENGINE).splitlines() == ["one step", "a warning"]


def test_switch_leaves_the_sdks_and_their_messages_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "generated_sdk", FILES)
    code = (
        "import sys\nfrom types import ModuleType\nfrom components.sdk import on_demand\n"
        "print('pulumi_kubernetes' in sys.modules)\n"
        "from pulumi_kubernetes.core.v1 import Secret\n"
        "for package in on_demand('generated_sdk'), sys.modules['pulumi_kubernetes.core.v1']:\n"
        "    print(type(package) is ModuleType, 'ConfigMap' in vars(package) or 'ZoneArgs' in vars(package))\n"
    )
    monkeypatch.delenv("PULUMI_OPTION_DEBUG", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("ANTON_PLAIN_SDK", "1")
    assert python(ENGINE + code).splitlines() == ["one step", "a warning", "False", "True True", "True True"]
