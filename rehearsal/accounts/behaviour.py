"""How a resource behaves beyond its types: what replaces it, what the cloud adds, what the cloud refuses.

`Resource` serves every resource of both SDKs: it echoes the arguments and adds an id. Where a cloud does more that
matters to this project, a subclass says so, in cloudflare.py and tailscale.py.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from rehearsal.accounts.sdk_schema import Schema
from rehearsal.accounts.store import Account, Record, scope_of

CREATED = ("createdAt", "createdOn", "created")
CHANGED = ("updatedAt", "modifiedOn", "lastUpdated", "modified")


class Refused(Exception):  # noqa: N818 - the cloud's answer, not a fault of this program
    """The cloud would refuse the call; the message is what it would say."""


def now() -> str:
    """This moment, as both clouds write it."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def hex_id() -> str:
    """An id as Cloudflare gives most things."""
    return secrets.token_hex(16)


def uuid_id() -> str:
    """An id as Cloudflare gives tunnels and all that belongs to Access."""
    return str(uuid.uuid4())


class Resource:
    """One kind of resource. The class attributes name properties as the provider knows them."""

    replacing: ClassVar[frozenset[str]] = frozenset()
    """Arguments whose change replaces the resource, besides zoneId and accountId."""
    all_replacing: ClassVar[bool] = False
    """Every argument does."""
    write_only: ClassVar[frozenset[str]] = frozenset()
    """Arguments that the API takes and never returns."""
    patches: ClassVar[bool] = False
    """An update may send what changes alone."""
    unordered: ClassVar[frozenset[str]] = frozenset()
    """Lists whose order means nothing."""

    def replaces(self, name: str) -> bool:
        """Whether a change of the argument `name` replaces the resource."""
        return self.all_replacing or name in self.replacing or name in {"zoneId", "accountId"}

    def same(self, name: str, old: Any, new: Any) -> bool:
        """Whether two values of an argument mean the same to the cloud."""
        if old is None and new is False:
            return True  # what absence means
        if name in self.unordered and isinstance(old, list) and isinstance(new, list):
            return sorted(map(str, old)) == sorted(map(str, new))
        return bool(old == new)

    def faults(self, inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """What the provider refuses before it asks the cloud, as (path, reason); values may be unknown."""
        yield from ()

    def identity(self, inputs: Mapping[str, Any]) -> str:
        """The id of a new one."""
        return hex_id()

    def refuse(self, account: Account, inputs: Mapping[str, Any], own: Record | None) -> None:
        """Raise Refused where the cloud would not take `inputs`; `own` is what they replace in an update."""

    def updated(self, before: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
        """What the cloud has after an update of `before` with `inputs`, as the plugin sends it."""
        return dict(inputs)

    def returned(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """What of these arguments the API gives back."""
        return {name: value for name, value in inputs.items() if name not in self.write_only}

    def refuse_import(self, id_: str) -> None:
        """Raise Refused where the plugin can't import it."""

    def refuse_removal(self, account: Account, record: Record) -> None:
        """Raise Refused where the cloud would not delete it."""

    def left(self, record: Record) -> Record | None:
        """What is still there after the plugin's delete; None: nothing."""
        return None

    def untouched(self, identifier: str) -> dict[str, Any] | None:
        """What exists under this id before anybody sets it."""
        return None

    def computed(self, inputs: Mapping[str, Any], own: Record | None, schema: Schema) -> dict[str, Any]:
        """The outputs that the cloud adds; `own` is the record before an update."""
        before = own.computed if own else {}
        values = dict(before)
        moment = now()
        for name in schema.computed:
            if name in CHANGED or (name in CREATED and name not in before):
                values[name] = moment
            elif name in schema.secrets and name not in before:
                values[name] = secrets.token_urlsafe(24)
        return values

    def import_key(self, identifier: str, schema: Schema) -> tuple[str | None, str]:
        """Scope (None for any) and id of an import id, by the format that the SDK documents."""
        parts = identifier.split("/")
        wanted = [part for part in schema.import_format.split("/") if part]
        if len(wanted) > 1 and len(parts) == 1:
            raise Refused(f"the import id must have the form {schema.import_format}, {identifier} does not")
        if parts[0] in {"accounts", "zones"}:
            parts = parts[1:]
        scope = parts[0] if len(parts) > 1 else None
        return scope, parts[-1]

    def record(self, token: str, inputs: Mapping[str, Any], own: Record | None, schema: Schema) -> Record:
        """What the account holds after a create, or with `own` after an update."""
        computed = {key: value for key, value in self.computed(inputs, own, schema).items() if key in schema.outputs}
        id_ = own.id if own else self.identity(inputs)
        return Record(token, scope_of(inputs), id_, dict(inputs), computed)


GENERIC = Resource()
