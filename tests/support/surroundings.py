"""What tests run in: nobody's settings, accounts or home, whoever starts them and from where."""

import re
from collections.abc import Mapping
from pathlib import Path

from tests.support.configs import PROJECT
from toolchain.layout import Layout

_FOREIGN = re.compile(
    r"(?:PULUMI|HELM|KUBE|CLOUDFLARE|CF_|TAILSCALE|TS_|ANTON|AWS|AZURE|GOOGLE|XDG|LC|LANG|MAKE|GIT)\w*"
    r"|(?:HTTPS?|ALL|NO)_PROXY|MFLAGS|COLUMNS|LINES|(?:NO|FORCE)_COLOR|PY_COLORS|GITHUB_ACTIONS|T\w+_WIDTH",
    re.IGNORECASE,
)
"""Variables that change what programs do: settings, accounts, proxies, language, width and colours on a terminal."""


def surroundings(users: Mapping[str, str], home: Path) -> dict[str, str]:
    """The variables for tests of somebody whose own are `users`; `home` is an empty folder.

    The tools that set-up shares between checkouts stay where they are. No cluster and no account is within reach.
    """
    kept = {name: value for name, value in users.items() if not _FOREIGN.fullmatch(name)}
    return kept | {
        "ANTON_CACHE": str(Layout.of(PROJECT, users).shared),
        "HOME": str(home),
        "KUBECONFIG": "/nonexistent/kubeconfig",
        "LC_ALL": "C.UTF-8",
    }
