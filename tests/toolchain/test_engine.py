"""Which pulumi, which plugins and which SDKs set-up chooses."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.toolchain.fakes import FAKE_PROGRAM, PINS, builds, progress_of, script, set_up
from toolchain import SetupError, engine, plugins, venvs
from toolchain.layout import Layout
from toolchain.stamp import Stamp

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("version", "usable"),
    [
        ("v3.200.0", True),
        ("v3.272.1", True),
        ("3.259.0-alpha.1", True),
        ("v3.199.9", False),
        ("v4.0.0", False),
        ("unknown command", False),
    ],
)
@pytest.mark.usefixtures("quick_venvs")
def test_a_pulumi_on_path_is_used_only_if_its_version_is_supported(
    layout: Layout, fakes: Path, monkeypatch: pytest.MonkeyPatch, version: str, usable: bool
) -> None:
    monkeypatch.setenv("FAKE_PULUMI_VERSION", version)
    script(fakes / "pulumi", FAKE_PROGRAM)
    script(fakes / "pulumi-language-python", FAKE_PROGRAM)
    said = set_up(layout)
    own_pulumi_links = (layout.bin / "pulumi").exists(), (layout.bin / "pulumi-language-python").exists()
    assert own_pulumi_links == (not usable, not usable)
    assert (f"using {fakes / 'pulumi'}" in said) is usable
    assert ("yours stays as it is" in said) is not usable


@pytest.mark.usefixtures("quick_venvs")
def test_a_pulumi_installed_later_replaces_the_built_one(layout: Layout, fakes: Path) -> None:
    set_up(layout)
    assert (layout.bin / "pulumi").exists()
    script(fakes / "pulumi", FAKE_PROGRAM)
    script(fakes / "pulumi-language-python", FAKE_PROGRAM)
    set_up(layout)
    assert not (layout.bin / "pulumi").exists()


@pytest.mark.usefixtures("quick_venvs")
def test_a_pulumi_without_its_language_host_beside_it_is_left_alone(
    layout: Layout, fakes: Path, tmp_path: Path
) -> None:
    """It would find no host: those on PATH, such as a built one, are ignored with all other plugins there."""
    (fakes / "pulumi").symlink_to(script(tmp_path / "installed/pulumi", FAKE_PROGRAM))
    script(fakes / "pulumi-language-python", FAKE_PROGRAM)
    said = set_up(layout)
    assert builds(fakes)[:2] == ["pulumi", "pulumi-language-python"]
    assert "has no pulumi-language-python beside it" in said
    assert os.access(layout.bin / "pulumi-language-python-exec", os.X_OK), "the host runs this script"
    script(tmp_path / "installed/pulumi-language-python", FAKE_PROGRAM)
    set_up(layout, refresh=True)
    assert not (layout.bin / "pulumi").exists(), "a symbolic link leads to both"


def test_without_the_official_plugin_the_pair_that_can_be_built_is_used_and_named(
    layout: Layout, quick_venvs: list[tuple[str, str]]
) -> None:
    said = set_up(layout, "preview", "test")
    assert "plugin 4.34.2 can't be downloaded here: using the pair 4.25.0" in said
    assert (layout.pulumi_home / "plugins/resource-kubernetes-v4.25.0/pulumi-resource-kubernetes").exists()
    assert quick_venvs == [("venv", "fallback"), ("venv", "fallback"), ("venv-newest", "newest")]
    assert not list(layout.pulumi_home.glob("plugins/*4.34.2*")), "a failed download must leave no plugin folder"


def test_with_the_official_plugin_the_newest_pair_is_used_and_no_plugin_is_built(
    layout: Layout, fakes: Path, monkeypatch: pytest.MonkeyPatch, quick_venvs: list[tuple[str, str]]
) -> None:
    monkeypatch.setenv("FAKE_DOWNLOADS", "yes")
    set_up(layout, "preview", "test")
    assert (layout.pulumi_home / "plugins/resource-kubernetes-v4.34.2/pulumi-resource-kubernetes").exists()
    assert quick_venvs == [("venv", "newest")] * 2, "a second environment would hold the same packages"
    assert not any("resource-kubernetes" in path.name for path in layout.tools.iterdir())
    assert builds(fakes)[:2] == ["pulumi", "pulumi-language-python"]


@pytest.mark.usefixtures("quick_venvs")
def test_a_plugin_that_the_user_has_is_linked_and_not_downloaded(layout: Layout, tmp_path: Path) -> None:
    own = tmp_path / "home/.pulumi/plugins/resource-kubernetes-v4.34.2/pulumi-resource-kubernetes"
    script(own, FAKE_PROGRAM)
    said = set_up(layout)
    assert (layout.pulumi_home / "plugins/resource-kubernetes-v4.34.2/pulumi-resource-kubernetes").samefile(own)
    assert "can't be downloaded" not in said


CLOUD_PLUGINS = [f"resource-{name}-v{PINS['plugin'][name]['version']}" for name in ("cloudflare", "tailscale")]


def cloud_plugins(layout: Layout) -> list[Path]:
    """The plugins of the two clouds, where the engine looks for them."""
    folders = [layout.pulumi_home / "plugins" / folder for folder in CLOUD_PLUGINS]
    return [folder / folder.name.rsplit("-v", 1)[0].replace("resource", "pulumi-resource") for folder in folders]


@pytest.mark.usefixtures("quick_venvs")
def test_without_the_official_cloud_plugins_a_stand_in_takes_their_place_and_is_called_one(layout: Layout) -> None:
    said = set_up(layout)
    script(layout.venv / "bin/python", '#!/bin/sh\necho "$@"\n')
    assert "cloudflare 6.23.1 and tailscale 0.29.2 can't be had here: previews use a STAND-IN" in said
    assert "downloading the official plugin cloudflare" not in said, "the Kubernetes plugin showed that it fails"
    for plugin, name in zip(cloud_plugins(layout), ("cloudflare", "tailscale"), strict=True):
        answer = subprocess.run([plugin, "127.0.0.1:1"], capture_output=True, text=True, check=True)
        assert answer.stdout == f"{layout.root / 'rehearsal/accounts/stand_in.py'} serve {name} 127.0.0.1:1\n"
    assert set_up(layout) == ""


@pytest.mark.usefixtures("quick_venvs")
def test_official_cloud_plugins_are_downloaded_where_that_works_and_replace_a_stand_in(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(layout)
    assert all("stand_in.py" in plugin.read_text() for plugin in cloud_plugins(layout))
    monkeypatch.setenv("FAKE_DOWNLOADS", "yes")
    said = set_up(layout, refresh=True)
    assert [plugin.read_text() for plugin in cloud_plugins(layout)] == [FAKE_PROGRAM] * 2
    assert "STAND-IN" not in said


@pytest.mark.usefixtures("quick_venvs")
def test_a_cloud_plugin_that_the_user_has_is_used_and_stays_theirs(layout: Layout, tmp_path: Path) -> None:
    theirs, other = cloud_plugins(layout)
    own = script(tmp_path / "home/.pulumi/plugins" / theirs.parent.name / theirs.name, "theirs")
    said = set_up(layout)
    assert theirs.samefile(own)
    assert "stand_in.py" in other.read_text()
    assert "The official plugins tailscale 0.29.2 can't" in said
    set_up(layout, refresh=True)
    assert own.read_text() == "theirs"


@pytest.mark.usefixtures("quick_venvs")
def test_rehearsals_have_the_stand_ins_whatever_plugins_the_user_has(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_DOWNLOADS", "yes")
    for plugin in cloud_plugins(layout):
        script(tmp_path / "home/.pulumi/plugins" / plugin.parent.name / plugin.name, "theirs")
    set_up(layout)
    for plugin in cloud_plugins(layout):
        assert plugin.read_text() == "theirs"
        stand_in = layout.stand_in_home / plugin.relative_to(layout.pulumi_home)
        assert "rehearsal/accounts/stand_in.py" in stand_in.read_text()
    kubernetes = layout.pulumi_home / "plugins/resource-kubernetes-v4.34.2/pulumi-resource-kubernetes"
    assert kubernetes.samefile(layout.stand_in_home / kubernetes.relative_to(layout.pulumi_home))
    shutil.rmtree(layout.stand_in_home)
    assert "plugins" in set_up(layout), "set-up must notice that they are gone"


@pytest.mark.usefixtures("quick_venvs")
def test_after_one_download_has_failed_no_other_is_tried(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def download(name: str, *_: object) -> bool:
        tried.append(name)
        return False

    monkeypatch.setattr(engine, "download", download)
    plugins.provide({"cloudflare": "1.0.0", "tailscale": "1.0.0"}, layout, progress_of(layout), downloads=True)
    assert tried == ["cloudflare"]


def test_refresh_tries_the_download_again_and_changes_the_pair(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, quick_venvs: list[tuple[str, str]]
) -> None:
    set_up(layout, "preview", "test")
    assert layout.venv_newest.exists()
    monkeypatch.setenv("FAKE_DOWNLOADS", "yes")
    set_up(layout, "preview", "test", refresh=True)
    assert Stamp(layout.stamp).pair == "newest"
    assert quick_venvs[-1] == ("venv", "newest")
    assert not layout.venv_newest.exists(), "tests would run twice with the same SDKs"


def test_an_environment_made_for_another_pair_gets_the_packages_of_this_one(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, quick_venvs: list[tuple[str, str]]
) -> None:
    monkeypatch.setenv("FAKE_DOWNLOADS", "yes")
    set_up(layout)
    shutil.rmtree(layout.pulumi_home)
    monkeypatch.delenv("FAKE_DOWNLOADS")
    said = set_up(layout)
    assert quick_venvs == [("venv", "newest"), ("venv", "fallback")]
    assert "[2/3] virtual environment" in said


def test_an_environment_is_kept_if_it_was_finished_and_made_anew_if_not(layout: Layout) -> None:
    def provide() -> bool:
        """Whether something that was in the environment is still there."""
        trace = layout.venv / "trace"
        if layout.venv.exists():
            trace.touch()
        venvs.provide(layout.venv, layout, "newest", progress_of(layout), development=False)
        return trace.exists()

    provide()
    assert provide(), "packages for tests would be lost at each change"
    (layout.root / "requirements.txt").write_text("no-such-package-anywhere @ file:///nowhere\n")
    with pytest.raises(SetupError):
        provide()
    (layout.root / "requirements.txt").write_text("")
    assert not provide(), "an installation cut short can leave packages half-made"
