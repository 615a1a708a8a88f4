"""The plugin for Cloudflare writes its requests with one encoder a process, and that has a fault.

It makes the code for each kind of value when the first one comes. A secret that an update sets where there was none,
before any other text was written, leaves it the wrong code for texts: from then on every text is left out that is as
before, and in a create all are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rehearsal.accounts.behaviour import Refused, Resource

_IN_PATH = frozenset({"zoneId", "accountId", "tunnelId", "settingId"})


class Encoder:
    """Of one process."""

    def __init__(self) -> None:
        self._made = self._wrong = False

    def write(self, behaviour: Resource, old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> None:
        """Note a request, an update with `old`. Raise Refused where the request lacks what the API needs."""
        before = new if old is None else old
        texts = [name for name, value in new.items() if isinstance(value, str) and name not in _IN_PATH]
        lacking = [name for name in texts if before.get(name) == new[name]]
        if self._wrong and lacking and (old is None or not behaviour.patches):
            raise Refused(
                f"400 Bad Request: the request lacks {', '.join(sorted(lacking))} (the plugin's encoder leaves out "
                "texts that do not change after it has set a secret where none was, until it ends)"
            )
        first_secret = any(name in behaviour.write_only and before.get(name) is None for name in texts)
        self._wrong = self._wrong or (first_secret and not self._made)
        self._made = self._made or bool(texts)
