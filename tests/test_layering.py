"""The floors of the house: nothing imports what stands above it, and nothing imports itself in a circle."""

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.support.configs import PROJECT

pytestmark = pytest.mark.unit

BELOW = {
    "settings": set(),
    "components": {"settings"},
    "__main__": {"settings", "components"},
    "toolchain": {"settings"},
    "rehearsal": {"settings", "toolchain"},
    "cli": {"settings", "components", "rehearsal", "toolchain"},
    "docs": {"settings"},
}
"""What each floor may import besides itself. Tests and benchmarks stand above all of them."""

PROVIDERS = ("pulumi_kubernetes", "pulumi_cloudflare", "pulumi_tailscale")

SUBCOMMANDS = {"adopt", "diff", "doctor", "reach", "topology"}


def modules(root: Path) -> dict[str, ast.Module]:
    """Every module of the floors below a folder, by its name."""
    files = [root / "__main__.py", *(file for floor in BELOW for file in (root / floor).rglob("*.py"))]
    names = {file: ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__") for file in files}
    return {name: ast.parse(file.read_text()) for file, name in names.items() if file.exists()}


def imported(module: ast.Module, known: Mapping[str, ast.Module]) -> Iterator[str]:
    """What a module imports, anywhere in it and for type checkers too; a name of a package is its submodule."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in known else node.module


def arrows(root: Path) -> dict[str, set[str]]:
    """Module to what it imports, other than itself."""
    known = modules(root)
    return {name: set(imported(module, known)) - {name} for name, module in known.items()}


def wrong_arrows(root: Path) -> list[str]:
    """Imports of what stands above, of a provider's SDK by settings, of a subcommand from outside of it."""
    found = []
    for name, targets in arrows(root).items():
        floor = name.partition(".")[0]
        for target in sorted(targets):
            other = target.partition(".")[0]
            upwards = other in BELOW and other != floor and other not in BELOW[floor]
            provider = floor == "settings" and other in PROVIDERS
            sideways = name != "cli.__main__" and subcommand(target) not in {None, subcommand(name)}
            if upwards or provider or sideways:
                found.append(f"{name} imports {target}")
    return found


def subcommand(name: str) -> str | None:
    """The subcommand of `anton` to which a module belongs."""
    parts = name.split(".")
    return parts[1] if parts[0] == "cli" and len(parts) > 2 and parts[1] in SUBCOMMANDS else None


def circle(root: Path) -> list[str]:
    """Modules that import each other in a circle, the first that is found."""
    try:
        TopologicalSorter(arrows(root)).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_nothing_imports_what_stands_above_it() -> None:
    assert len(modules(PROJECT)) > 150, "the floors are not where this test looks"
    assert wrong_arrows(PROJECT) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle(PROJECT) == []


@pytest.mark.parametrize(
    ("file", "text", "wrong"),
    [
        ("settings/ingress.py", "from components import nginx", "settings.ingress imports components.nginx"),
        ("settings/ingress.py", "import pulumi_cloudflare", "settings.ingress imports pulumi_cloudflare"),
        ("components/nginx.py", "from rehearsal.stack import Stack", "components.nginx imports rehearsal.stack"),
        ("toolchain/steps.py", "def late():\n    import rehearsal.stack", "toolchain.steps imports rehearsal.stack"),
        ("cli/topology/svg.py", "from cli.reach.paths import Reach", "cli.topology.svg imports cli.reach.paths"),
    ],
)
def test_an_arrow_that_runs_back_up_is_found(file: str, text: str, wrong: str, tmp_path: Path) -> None:
    plant(tmp_path, {file: text})
    assert wrong_arrows(tmp_path) == [wrong]


def test_a_circle_is_found_even_where_only_type_checkers_see_it(tmp_path: Path) -> None:
    guarded = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from settings.stack import Settings"
    plant(tmp_path, {"settings/ingress.py": guarded, "settings/stack.py": "from settings import ingress"})
    assert set(circle(tmp_path)) == {"settings.ingress", "settings.stack"}


def plant(root: Path, files: Mapping[str, str]) -> None:
    """Make the named files, and empty ones for what they import."""
    for name in ("components/nginx.py", "rehearsal/stack.py", "cli/reach/paths.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
