"""Two versions of one object compared field by field, list items by the key that Kubernetes merges them by."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from cli.manifests import cluster_wide
from cli.program import SECRET


class _Absent:
    def __repr__(self) -> str:
        return "absent"


ABSENT: Any = _Absent()
"""In place of a value that one side does not have."""


@dataclass(frozen=True)
class Item:
    """The item of a list with these values; `shown` is what tells it from others."""

    key: tuple[tuple[str, Any], ...]

    @property
    def shown(self) -> str:
        """Its values without the names, such as `8080/TCP`."""
        return "/".join(str(value) for _, value in self.key)


Step = str | int | Item


@dataclass(frozen=True)
class Field:
    """One difference: where it is, and its value before and after, ABSENT where there is none."""

    at: tuple[Step, ...]
    before: Any = ABSENT
    after: Any = ABSENT

    @property
    def path(self) -> str:
        """As people write it: `spec.template.spec.containers[agent].image`."""
        return path_of(self.at)


def path_of(at: Sequence[Step]) -> str:
    """A place in an object as people write it."""
    text = ""
    for step in at:
        if isinstance(step, str) and not {".", "/", "["} & set(step):
            text += f".{step}"
        else:
            text += f"[{step.shown if isinstance(step, Item) else step}]"
    return text.removeprefix(".")


_BY_NAME = dict.fromkeys(
    (
        "additionalPrinterColumns",
        "containers",
        "env",
        "groups",
        "imagePullSecrets",
        "initContainers",
        "matchConditions",
        "versions",
        "volumes",
        "webhooks",
    ),
    (("name",),),
)
_KEYS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    **_BY_NAME,
    "ports": (("containerPort", "protocol"), ("port", "protocol")),
    "rules": (("host",), ("alert",)),
    "topologySpreadConstraints": (("topologyKey", "whenUnsatisfiable"),),
    "volumeMounts": (("mountPath",),),
}
"""List by field name to what tells its items apart: the first set of keys that all items have, no two the same.

From `x-kubernetes-list-map-keys` in Kubernetes' OpenAPI description; ports of policies, which have no such keys, fall
out as they may be the same. By name beyond that: what people see as named (columns and versions of a CRD, groups and
alerts of a PrometheusRule, hosts of an Ingress).
"""
_DEFAULTS = {"protocol": "TCP"}


def differences(before: Any, after: Any, at: tuple[Step, ...] = ()) -> Iterator[Field]:
    """The fields that differ, each as small as it can be said; None counts as absent, as the API server takes it."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after}, key=str):
            yield from differences(_value(before, key), _value(after, key), (*at, key))
    elif isinstance(before, list) and isinstance(after, list):
        yield from _lists(before, after, at)
    elif before != after and not (_AMOUNTS & set(at) and _same_amount(before, after)):
        yield Field(at, before, after)


def _value(mapping: Mapping[str, Any], key: str) -> Any:
    value = mapping.get(key, ABSENT)
    return ABSENT if value is None else value


def _lists(before: list[Any], after: list[Any], at: tuple[Step, ...]) -> Iterator[Field]:
    if before == after:
        return
    name = next((step for step in reversed(at) if isinstance(step, str)), "")
    old, new = keyed(name, before), keyed(name, after)
    if old is not None and new is not None:
        if not _same_order(old, new):
            yield Field(at, before, after)
            return
        for key in [*old, *(key for key in new if key not in old)]:
            yield from differences(old.get(key, ABSENT), new.get(key, ABSENT), (*at, Item(key)))
        return
    pairs = [*zip(before, after, strict=False)]
    if len(before) == len(after) and all(
        old_item == new_item or _branches(old_item, new_item) for old_item, new_item in pairs
    ):
        for index, pair in enumerate(pairs):
            yield from differences(*pair, (*at, index))
    else:
        yield Field(at, before, after)


def _branches(before: Any, after: Any) -> bool:
    return all(isinstance(value, Mapping) for value in (before, after)) or all(
        isinstance(value, list) for value in (before, after)
    )


def keyed(name: str, items: list[Any]) -> dict[tuple[tuple[str, Any], ...], Any] | None:
    """The items of a list field by their natural key, in their order; None where they have none."""
    for keys in _KEYS.get(name, ()):
        if all(isinstance(item, Mapping) and keys[0] in item for item in items):
            found = {tuple((key, item.get(key, _DEFAULTS.get(key))) for key in keys): item for item in items}
            if len(found) == len(items):
                return found
    return None


def _same_order(old: Mapping[Any, Any], new: Mapping[Any, Any]) -> bool:
    return [key for key in old if key in new] == [key for key in new if key in old]


# ---- values

_SUFFIXES = {"m": Decimal("0.001"), "": Decimal(1), "k": Decimal(1000), "M": Decimal(10**6), "G": Decimal(10**9)}
_SUFFIXES |= {"Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40)}


_AMOUNTS = {"capacity", "hard", "limits", "requests", "sizeLimit"}
"""Fields that hold Kubernetes quantities, or maps of them."""


def _same_amount(before: Any, after: Any) -> bool:
    """Whether two values are spellings of one amount (`1000m`, `1` and "1"), which the API server would make one."""
    amounts = amount(before), amount(after)
    return None not in amounts and amounts[0] == amounts[1]


def amount(value: Any) -> Decimal | None:
    """A Kubernetes quantity as a number; None for what is none."""
    text = str(value)
    suffix = text.lstrip("0123456789.")
    try:
        return (
            Decimal(text.removesuffix(suffix)) * _SUFFIXES[suffix] if suffix in _SUFFIXES and text != suffix else None
        )
    except InvalidOperation:
        return None


def clean(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """As the API server would take it: without nulls and marks of Pulumi, without empty labels, annotations and lists.

    Cilium's and other custom resources keep empty lists: an empty list of rules denies, none does not.
    """
    kept: dict[str, Any] = _without_nulls(manifest, lists=_built_in(str(manifest.get("apiVersion", ""))))
    metadata = dict(kept.get("metadata") or {})
    for name in ("annotations", "labels"):
        entries = {key: value for key, value in (metadata.get(name) or {}).items() if not key.startswith("pulumi.com/")}
        metadata.pop(name, None)
        if entries:
            metadata[name] = entries
    metadata.pop("creationTimestamp", None)
    if cluster_wide(str(manifest.get("kind", ""))):
        metadata.pop("namespace", None)
    return {key: value for key, value in kept.items() if not key.startswith("__")} | (
        {"metadata": metadata} if "metadata" in manifest else {}
    )


def _built_in(version: str) -> bool:
    group = version.rpartition("/")[0]
    return "." not in group or group.endswith(".k8s.io")


def _without_nulls(value: Any, *, lists: bool) -> Any:
    if isinstance(value, Mapping):
        cleaned = {key: _without_nulls(entry, lists=lists) for key, entry in value.items() if entry is not None}
        return {key: entry for key, entry in cleaned.items() if not (lists and entry == [])}
    return [_without_nulls(entry, lists=lists) for entry in value] if isinstance(value, list) else value


def masked(field: Field) -> Field:
    """With SECRET in place of both values."""
    return Field(field.at, *(value if value is ABSENT else SECRET for value in (field.before, field.after)))


def text_of(value: Any) -> str:
    """A value in one line."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def projected(live: Any, declared: Any, name: str = "") -> Any:
    """Of a live object, what `declared` speaks of: defaults of the server and fields of others fall out.

    Empty and false values that the server leaves out count as held.
    """
    if isinstance(declared, Mapping) and isinstance(live, Mapping):
        return {
            key: projected(live[key], value, key) if key in live else value
            for key, value in declared.items()
            if key in live or not value
        }
    if isinstance(declared, list) and isinstance(live, list):
        wanted, held = keyed(name, declared), keyed(name, live)
        if wanted is not None and held is not None:
            return [projected(held[key], item) for key, item in wanted.items() if key in held]
        if len(declared) == len(live):
            return [projected(*pair, name) for pair in zip(live, declared, strict=True)]
    return live
