"""What can be set up by name, and what each subcommand of `./anton` needs. Light, for it is read at each start."""

from __future__ import annotations

from collections.abc import Sequence

_PREVIEW = ("pulumi", "pulumi-language-python", "pulumi-resource-kubernetes", "venv", "cloud-plugins")

GROUPS: dict[str, tuple[str, ...]] = {
    "environment": ("venv",),
    "preview": _PREVIEW,
    "helm": ("helm",),
    "policy-verdict": ("policy-verdict",),
    "test": (*_PREVIEW, "venv-test", "venv-newest", "helm", "talos-patch-check", "policy-verdict", "checkers"),
    "cluster": (*_PREVIEW, "etcd", "kubernetes", "kwok", "cilium-definitions"),
}
"""The steps of each group, in the order in which they must run."""

ANTON: dict[str, tuple[str, ...]] = {
    "diff": ("preview", "helm"),
    "doctor": ("preview", "policy-verdict"),
    "import": ("preview",),
    "reach": ("preview", "helm", "policy-verdict"),
    "topology": ("preview",),
}
"""The groups that the subcommands of `./anton` need."""

VALUED = ("-s", "--stack")
"""Options before the subcommand whose next word is their value."""


def groups_of_anton(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the groups that `./anton` with these arguments needs; to print help the environment is enough."""
    if "--help" in arguments:
        return ("environment",)
    words = iter(arguments)
    for word in words:
        if word in VALUED:
            next(words, None)
        elif not word.startswith("-"):
            return ANTON.get(word, ("environment",))
    return ("environment",)
