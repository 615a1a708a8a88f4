"""Where set-up puts things, and the environment in which the make targets run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

LOCAL_PASSPHRASE = "for-local-use-only"  # noqa: S105 - protects nothing: local state lives in the project's cache

# Options of the Kubernetes provider, which docs/recovery.md sets in front of a command.
_KEPT_SETTINGS = "PULUMI_K8S_"


_PROXIES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


@dataclass(frozen=True)
class Layout:
    """The folders of one checkout (`cache` and below it) and of the user (`shared`, common to all checkouts)."""

    root: Path
    shared: Path

    @classmethod
    def of(cls, root: Path, environ: Mapping[str, str]) -> Layout:
        """Return the layout of the checkout at `root` for a user with the variables `environ`."""
        if own := environ.get("ANTON_CACHE"):
            return cls(root, Path(own).absolute())
        caches = environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME") or root, ".cache")
        return cls(root, Path(caches, "anton-network"))

    @property
    def toolchain(self) -> Path:
        return self.root / "toolchain"

    @property
    def cache(self) -> Path:
        return self.root / ".cache"

    @property
    def bin(self) -> Path:
        return self.cache / "bin"

    @property
    def venv(self) -> Path:
        return self.cache / "venv"

    @property
    def venv_newest(self) -> Path:
        return self.cache / "venv-newest"

    @property
    def pulumi_home(self) -> Path:
        """Pulumi's home with the clouds' official plugins where they can be had."""
        return self.cache / "pulumi-home"

    @property
    def stand_in_home(self) -> Path:
        """Pulumi's home with the stand-ins for the clouds' plugins, whatever else there is."""
        return self.cache / "pulumi-home-stand-in"

    @property
    def state(self) -> Path:
        return self.cache / "state"

    @property
    def stacks(self) -> Path:
        return self.cache / "stacks"

    @property
    def logs(self) -> Path:
        return self.cache / "logs"

    @property
    def stamp(self) -> Path:
        return self.cache / "setup.json"

    @property
    def cilium_definitions(self) -> Path:
        return self.cache / "cilium-crds.yaml"

    @property
    def tools(self) -> Path:
        return self.shared / "tools"


def search_path(layout: Layout, environ: Mapping[str, str]) -> list[str]:
    """Return the folders of the user's PATH that are not the project's own, as absolute paths.

    Set-up and Pulumi change into other folders, where a relative one would mean another place. An empty one, the
    current folder to a shell, is left out.
    """
    folders = (str(Path(folder).absolute()) for folder in environ.get("PATH", "").split(os.pathsep) if folder)
    return [folder for folder in folders if not Path(folder).is_relative_to(layout.cache)]


def find_executable(name: str, folders: list[str]) -> Path | None:
    """Return the first executable file `name` in `folders`, or None; what can't be looked at holds none."""
    for folder in folders:
        candidate = Path(folder, name)
        # Not Path.is_file: it raises PermissionError for a folder that may not be searched.
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):  # noqa: PTH113
            return candidate
    return None


def local_backend(folder: Path) -> str:
    """Return the URL of a Pulumi backend that keeps its state in `folder`, an absolute path.

    Without `metadata=skip` every state file gets an .attrs file beside it, which is not written in one step: an update
    killed at that moment leaves it empty, and Pulumi then refuses the state with `failed to load checkpoint: EOF`.
    """
    return f"{folder.as_uri()}?metadata=skip"


def environment(
    layout: Layout, environ: Mapping[str, str], *, fallback_pair: bool, stand_ins: bool = False
) -> dict[str, str]:
    """Return the complete environment for a make target: the user's, with Pulumi's settings replaced.

    `fallback_pair` tells that official plugins can't be downloaded here; the engine then must not try, which would
    cost 2.5 s on every preview. `stand_ins` tells that Cloudflare and Tailscale are the local accounts, whatever
    plugins the user has: nothing then reaches them, and nothing is downloaded either.
    """
    result = {name: value for name, value in environ.items() if not _is_foreign(name)} | direct_loopback(environ)
    folders = [str(layout.bin), str(layout.venv / "bin"), *search_path(layout, environ)]
    result["PATH"] = os.pathsep.join(folders)
    result["PULUMI_HOME"] = str(layout.stand_in_home if stand_ins else layout.pulumi_home)
    result["PULUMI_BACKEND_URL"] = local_backend(layout.state)
    result["PULUMI_CONFIG_PASSPHRASE"] = LOCAL_PASSPHRASE
    result["PULUMI_SKIP_UPDATE_CHECK"] = "true"
    result["PULUMI_IGNORE_AMBIENT_PLUGINS"] = "true"  # one on PATH would go before those of the home
    if fallback_pair or stand_ins:
        result["PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"] = "true"
    return result


def _is_foreign(name: str) -> bool:
    """Whether a variable of the user would reach into a make target: login, backend, plugins, Python packages."""
    if name.startswith("PULUMI_"):
        return not name.startswith(_KEPT_SETTINGS)
    return name in {"PYTHONPATH", "PYTHONHOME"}


def direct_loopback(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what keeps a proxy of the user out of the way to servers on this machine; nothing where there is no proxy.

    Go's clients never take a proxy for loopback, Python's do unless they are told.
    """
    if not any(environ.get(name) for name in _PROXIES):
        return {}
    hosts = [environ.get("no_proxy") or environ.get("NO_PROXY"), "localhost", "127.0.0.1", "::1"]
    return dict.fromkeys(("no_proxy", "NO_PROXY"), ",".join(filter(None, hosts)))


def as_shell(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Return the lines that turn the environment `before` into `after` in a POSIX shell."""
    removed = [f"unset {name}" for name in sorted(before.keys() - after.keys())]
    changed = [f"export {name}={quote(after[name])}" for name in sorted(after) if before.get(name) != after[name]]
    return "\n".join(removed + changed)
