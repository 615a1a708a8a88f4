"""Documentation that can be checked is checked: generated tables, links, and the tests that it names."""

import re
import textwrap
from pathlib import Path

import pytest
import yaml

from docs import generate
from settings.errors import ConfigError
from settings.stack import GROUPS
from tests.support.configs import PROJECT, settings_with

pytestmark = pytest.mark.unit

PAGES = sorted([PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *(PROJECT / "docs").rglob("*.md")])


def test_configuration_tables_are_those_of_the_models() -> None:
    assert (PROJECT / "docs/configuration.md").read_text() == generate.configuration(), "run `make docs`"
    readme = (PROJECT / "README.md").read_text()
    assert readme == generate.readme(readme), "run `make docs`"


def test_every_setting_has_a_meaning_in_the_table() -> None:
    for group, model in GROUPS.items():
        for key, _, meaning, _ in generate.rows(model, group):
            assert len(meaning) > 3, key


def anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http:", "https:")):
            continue
        path, _, fragment = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{page.name} links to {target}"
        if fragment:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            assert fragment in map(anchor, headings), f"{page.name} links to {target}"


EXAMPLE = {"settings/quotas.py", "components/quotas.py", "tests/components/test_quotas.py"}
"""What CONTRIBUTING.md adds in its example."""


def test_files_that_the_documentation_names_exist() -> None:
    folders = "tests|settings|components|cli|rehearsal|toolchain|bench|docs"
    named = {
        path
        for page in PAGES
        for path in re.findall(rf"`((?:{folders})/[\w/-]+\.(?:py|yaml|md))[`,:]", page.read_text())
    }
    assert len(named) > 30
    assert [path for path in sorted(named - EXAMPLE) if not (PROJECT / path).exists()] == []


def test_pulumi_knows_every_group_in_the_order_of_the_settings() -> None:
    declared = yaml.safe_load((PROJECT / "Pulumi.yaml").read_text())["config"]
    assert [key for key, value in declared.items() if value["type"] == "object"] == list(GROUPS)


def test_pitfalls_name_tests_and_decisions_that_exist() -> None:
    code = "\n".join(path.read_text() for path in (PROJECT / "tests").rglob("test_*.py"))
    rows = [line for line in (PROJECT / "docs/pitfalls.md").read_text().splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row)
        assert named, f"no test: {row}"
        for name in named:
            assert f"def {name}(" in code, f"{name} does not exist"
        for number in re.findall(r"ADR (\d{4})", row):
            assert list((PROJECT / "docs/adr").glob(f"{number}-*.md")), number


def test_readme_error_example_is_what_the_program_says() -> None:
    with pytest.raises(ConfigError) as caught:
        settings_with({"physical": {"gateway": "10.0.0.1"}, "cilium": {"routingMode": "tunnel"}})
    printed = textwrap.indent(f"error: {str(caught.value).strip()}", " " * 4)
    assert printed in (PROJECT / "README.md").read_text()


SPECIFICATION = PROJECT.parent / "shared/spec/networking.md"

BOILERPLATE = re.compile(
    r"(apiVersion|kind): .*|(metadata|spec|data|matchLabels|podSelector|policyTypes|egress|ports):|- (to|podSelector):"
    r"|NAME +CONTROLLER.*|#.*"
)
"""Lines of the specification's examples that say nothing by themselves."""


def coverage_rows() -> list[list[str]]:
    """The cells of each row of docs/spec-coverage.md."""
    lines = (PROJECT / "docs/spec-coverage.md").read_text().splitlines()
    rows = [re.split(r" \| ", line.strip("| ")) for line in lines if line.startswith("| ")]
    return [row for row in rows if row[0] not in {"specification", "---"}]


def specified_lines(text: str) -> list[str]:
    """What the specification says below its overview: bullets, and the lines of its examples."""
    found, inside_example = [], False
    for line in map(str.strip, text.split("## Network Layers")[1].splitlines()):
        if line.startswith("```"):
            inside_example = not inside_example
        elif line.startswith("- **"):
            found.append(line.removeprefix("- "))
        elif inside_example and line and not BOILERPLATE.fullmatch(line):
            found.append(" ".join(re.sub(r"\s+\d+d$", "", line).split()))
    return found


def test_coverage_rows_name_components_settings_and_tests_that_exist() -> None:
    code = "\n".join(path.read_text() for path in (PROJECT / "tests").rglob("test_*.py"))
    components = "\n".join(path.read_text() for path in (PROJECT / "components").rglob("*.py"))
    settings = (PROJECT / "docs/configuration.md").read_text()
    rows = coverage_rows()
    assert len(rows) > 60
    for spec, component, setting, tests in rows:
        assert f"class {component.strip('`')}(pulumi.ComponentResource)" in components, component
        key = setting.strip("`")
        assert re.search(rf"(`|## ){re.escape(key)}[.`\n]", settings), f"no setting {key}"
        named = re.findall(r"`(test_\w+)`", tests)
        assert named, f"no test: {spec}"
        for name in named:
            assert f"def {name}(" in code, f"{name} does not exist"


def test_every_line_of_the_specification_has_its_row() -> None:
    if not SPECIFICATION.is_file():
        pytest.skip("no ../shared/spec/networking.md: rows can't be compared with it")
    specified = specified_lines(SPECIFICATION.read_text())
    assert len(specified) > 90
    covered = " ".join(row[0] for row in coverage_rows())
    assert [line for line in specified if line not in covered] == []
