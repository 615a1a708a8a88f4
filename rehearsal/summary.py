"""The tables at the end of a rehearsal: what now exists in the stack, in the cluster and in the local accounts."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from kubernetes import client
from rich.table import Table

from rehearsal.accounts.store import Accounts

COMPONENT = "anton:network:"


def tables(
    stack_state: Mapping[str, Any], outputs: Mapping[str, Any], api: client.ApiClient, accounts: Path
) -> list[Table]:
    """Everything there is to show: a deployment (`pulumi stack export`), its outputs, the cluster and the accounts."""
    services = client.CoreV1Api(api).list_service_for_all_namespaces().items
    objects = [api.sanitize_for_serialization(service) for service in services]  # type: ignore[no-untyped-call]
    return [
        _table("In the stack", ("layer", "objects", "kinds"), objects_by_layer(stack_state.get("resources") or [])),
        _table(
            "Addresses on the LAN",
            ("Service", "address", "pool"),
            addresses(objects, outputs),
        ),
        _table("In the local accounts", ("what", "name", "value"), in_accounts(accounts)),
        _table("Applications", ("name", "URL"), sorted((outputs.get("applications") or {}).items())),
    ]


def objects_by_layer(resources: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Each component right below the stack, with its resources counted by kind, those of its charts too."""
    by_urn = {resource["urn"]: resource for resource in resources}
    counts: dict[str, Counter[str]] = {}
    for resource in resources:
        layer = _layer(resource, by_urn)
        if layer and not resource["type"].startswith((COMPONENT, "pulumi:")):
            counts.setdefault(layer, Counter()).update(_kinds(resource))
    return [
        (layer, str(found.total()), ", ".join(f"{number} {kind}" for kind, number in found.most_common()))
        for layer, found in counts.items()
    ]


def _layer(resource: Mapping[str, Any], by_urn: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The name of the outermost component that the resource belongs to."""
    found = None
    current: Mapping[str, Any] | None = resource
    while current:
        if current["type"].startswith(COMPONENT):
            found = f"{current['type'].removeprefix(COMPONENT)} {current['urn'].rsplit('::', 1)[1]}"
        current = by_urn.get(current.get("parent", ""))
    return found


def _kinds(resource: Mapping[str, Any]) -> Iterator[str]:
    kind = resource["type"].rsplit(":", 1)[1].removesuffix("Patch")
    yield kind
    if kind == "Release":
        for made, names in (resource.get("outputs", {}).get("resourceNames") or {}).items():
            yield from [made.partition("/")[0].partition(".")[0]] * len(names)


def addresses(services: Iterable[Mapping[str, Any]], outputs: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Each LoadBalancer Service with its address, or why it has none, and the pool that it is from."""
    rows = []
    for service in services:
        if service["spec"].get("type") != "LoadBalancer":
            continue
        status = service.get("status", {})
        given = [
            entry.get("ip") or entry.get("hostname", "")
            for entry in status.get("loadBalancer", {}).get("ingress") or ()
        ]
        reasons = [entry.get("message", "") for entry in status.get("conditions") or () if entry["status"] == "False"]
        name = f"{service['metadata']['namespace']}/{service['metadata']['name']}"
        pool = _pool(given[0], outputs.get("load_balancer_pools") or {}) if given else ""
        rows.append((name, ", ".join(given) or "; ".join(["pending", *reasons]), pool))
    return rows


def _pool(address: str, pools: Mapping[str, Mapping[str, Any]]) -> str:
    for name, pool in pools.items():
        start, _, stop = pool["range"].replace(" ", "").partition("-")
        try:
            if int(ip_address(start)) <= int(ip_address(address)) <= int(ip_address(stop)):
                return name
        except ValueError:
            continue
    return ""


def in_accounts(path: Path) -> list[tuple[str, str, str]]:
    """DNS records and tunnels by name, and how many there are of everything else."""
    with Accounts(path).transaction() as account:
        records = account.all()
    rows, others = [], Counter[str]()
    for record in records:
        kind = record.type.rsplit(":", 1)[1]
        match kind:
            case "DnsRecord":
                rows.append(
                    (f"{record.inputs.get('type')} record", record.inputs["name"], record.inputs.get("content", ""))
                )
            case "ZeroTrustTunnelCloudflared":
                rows.append(("tunnel", record.inputs["name"], record.id))
            case _:
                others[kind] += 1
    return [*sorted(rows), *((kind, "", f"{number} of them") for kind, number in sorted(others.items()))]


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold", header_style="dim")
    for row in rows:
        table.add_row(*row)
    return table
