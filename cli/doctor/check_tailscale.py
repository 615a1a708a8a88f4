"""Tailscale: the operator and its proxies in the cluster, and their devices in the tailnet."""

import re
from collections.abc import Iterable, Iterator
from datetime import datetime

from cli.doctor.context import SIMULATED, Context, UnseenError, condition
from cli.doctor.expiry import expiry
from cli.doctor.findings import Finding, critical, unknown, warning
from cli.doctor.registry import check
from cli.doctor.workloads import workload
from cli.edge_accounts import Device, TailnetKey
from settings.applications import PROXY_GROUP, TAILSCALE_CLASS
from settings.discovery import GATEWAY
from settings.tailscale.operator import CONNECTOR, advertised_routes

MACHINES = "https://login.tailscale.com/admin/machines"
KEYS = "https://login.tailscale.com/admin/settings/keys"


@check("tailscale", "the operator runs, and so do its subnet router and proxies", "tailscale")
def tailscale(context: Context) -> Iterator[Finding]:
    """By the operator's Deployment and the conditions that it writes."""
    settings = context.settings.tailscale
    if not settings.enabled:
        return
    operator = f"{settings.namespace}/operator"
    yield from workload(context, "Deployment", operator, config="tailscale", replicas=1)
    parts = [("connectors", "Connector", CONNECTOR, "ConnectorReady", "tailscale.connector")] * bool(settings.connector)
    if settings.proxy_group:
        parts.append(("proxygroups", "ProxyGroup", PROXY_GROUP, "ProxyGroupReady", "tailscale.proxyGroup"))
    for plural, kind, name, type_, key in parts:
        found = context.object(f"/apis/tailscale.com/v1alpha1/{plural}/{name}")
        subject = f"{kind} {name}"
        ready = condition(found or {}, type_)
        if found is None:
            yield critical(subject, "does not exist", "ready", config=key, next_=context.up)
        elif not ready and context.simulated:
            yield unknown(subject, SIMULATED)
        elif ready.get("status") != "True":
            seen = f"is not ready: {ready.get('message', 'the operator has not looked at it')}"
            look = context.kubectl(f"describe {kind.lower()} {name}")
            yield critical(subject, seen, "ready", config=key, next_=look, after=[f"Deployment {operator}"])


@check("tailnet", "devices are there, tagged, connected, and no key runs out", "tailscale")
def tailnet(context: Context) -> Iterator[Finding]:
    """By Tailscale's view of the tailnet."""
    settings = context.settings.tailscale
    if not settings.enabled:
        return
    for key in context.tailnet.auth_keys():
        yield from _key(context, key)
    devices = context.tailnet.devices()
    if not devices and context.simulated:
        raise UnseenError(SIMULATED)
    yield from _expected(context, devices)
    for device in devices:
        yield from _device(context, device)
    yield from _duplicates(context, devices)


def _expected(context: Context, devices: Iterable[Device]) -> Iterator[Finding]:
    settings = context.settings.tailscale
    by_name = {device.hostname: device for device in devices}
    wanted = {settings.hostname: (settings.operator_tags, "tailscale.hostname", "operatorTags")}
    if settings.connector:
        for number in range(settings.connector.replicas):
            name = f"{settings.connector.hostname}-{number}"
            wanted[name] = (settings.connector_tags, "tailscale.connector", "connector.tags")
    for each in context.settings.published:
        if each.ingress_class == TAILSCALE_CLASS and not settings.proxy_group:
            wanted[each.host] = (settings.proxy_tags, f"applications.{each.name}", "proxyTags")
    operator = f"Deployment {settings.namespace}/operator"
    for name, (tags, key, tags_key) in wanted.items():
        subject, device = f"device {name}", by_name.get(name)
        if device is None or not device.connected:
            seen = f"was last seen {device.last_seen}" if device else "is not in the tailnet"
            causes = [operator, f"Connector {CONNECTOR}"] if name != settings.hostname else [operator]
            yield critical(subject, seen, "connected", config=key, next_=MACHINES, after=causes)
        elif not set(tags) <= set(device.tags):
            seen = f"has {', '.join(device.tags) or 'no tags'}"
            yield critical(subject, seen, ", ".join(tags), config=f"tailscale.{tags_key}", next_=MACHINES)


def _device(context: Context, device: Device) -> Iterator[Finding]:
    """Of those that belong to the cluster: tagged as its own, or named like a node."""
    settings = context.settings.tailscale
    own_tags = {*settings.operator_tags, *settings.proxy_tags, *settings.connector_tags}
    if not own_tags & set(device.tags) and device.hostname not in context.settings.physical.nodes:
        return
    subject = f"device {device.hostname}"
    if device.lock_error:
        seen = f"tailnet lock shuts it out: {device.lock_error}"
        yield critical(subject, seen, "signed", config="tailscale.tailnet", next_=f"tailscale lock sign   # {MACHINES}")
    if not device.authorized:
        yield critical(subject, "is not approved", "approved", config="tailscale.tailnet", next_=MACHINES)
    waiting = sorted(set(device.advertised_routes) - set(device.enabled_routes))
    yield from _waiting(context, subject, waiting)
    yield from _expiry(context, subject, device.expires, "tailscale.tailnet", MACHINES)


def _waiting(context: Context, subject: str, routes: list[str]) -> Iterator[Finding]:
    """Routes that nobody approved: those of the settings lead nowhere, and names are not found that split DNS sends."""
    settings, after = context.settings, [f"Connector {CONNECTOR}"]
    connector, tailnet = settings.tailscale.connector, settings.tailscale.tailnet
    wanted = (
        {str(each) for each in advertised_routes(connector, settings.load_balancer, settings.cluster)}
        if connector
        else set()
    )
    own, others = [route for route in routes if route in wanted], [route for route in routes if route not in wanted]
    if own:
        gateway = f"{settings.load_balancer.addresses.get(GATEWAY)}/32"
        split = tailnet is not None and tailnet.split_dns is not None and gateway in own
        lost = f": no device of the tailnet resolves {settings.cluster.domain}" if split else ""
        seen = f"advertises {', '.join(own)}, which nobody approved{lost}"
        key = "tailscale.tailnet.splitDns" if split else "tailscale.connector"
        yield critical(subject, seen, "approved routes", config=key, next_=MACHINES, after=after)
    if others:
        seen = f"advertises {', '.join(others)}, which nobody approved"
        yield warning(subject, seen, "approved routes", config="tailscale.connector", next_=MACHINES, after=after)


def _key(context: Context, key: TailnetKey) -> Iterator[Finding]:
    subject = f"Tailscale key {key.description or key.id}"
    if key.invalid:
        yield warning(subject, "is expired or revoked", "a valid key, or none", config="tailscale.tailnet", next_=KEYS)
    else:
        yield from _expiry(context, subject, key.expires, "tailscale.tailnet", KEYS)


def _expiry(context: Context, subject: str, expires: str, config: str, page: str) -> Iterator[Finding]:
    """Of a key; none, or Go's zero time, is a key that lasts for ever."""
    if expires and not expires.startswith("0001-"):
        yield from expiry(context, subject, "its key", datetime.fromisoformat(expires), config=config, next_=page)


def _duplicates(context: Context, devices: Iterable[Device]) -> Iterator[Finding]:
    """A machine that lost its identity joins again, and Tailscale puts a number behind its name."""
    settings = context.settings
    own = {*settings.physical.nodes, settings.tailscale.hostname}
    for device in devices:
        short = device.name.partition(".")[0]
        original = re.sub(r"-\d+$", "", short)
        if short not in own and original in own:
            seen = f"is a second {original}: its old identity was lost"
            yield warning(f"device {short}", seen, f"one device {original}", config="tailscale", next_=MACHINES)
