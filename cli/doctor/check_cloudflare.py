"""The edge at Cloudflare: the tunnel's connections and the zone's records, as Cloudflare sees them."""

from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address

from cli.doctor.context import SIMULATED, Context, UnseenError
from cli.doctor.findings import Finding, critical, unknown, warning
from cli.doctor.registry import check
from cli.doctor.workloads import workload
from cli.edge_accounts import DNS_RECORD, TUNNEL, Connector, DnsRecord, Tunnel
from components.cloudflare.connector import NAME as CLOUDFLARED
from settings.cloudflare.dns import EXTERNAL_DNS, PRIVATE_NETWORKS, TUNNEL_DOMAIN

CONNECTIONS = 4
"""What each cloudflared holds to Cloudflare's edge."""

ZONE_PAGE = "https://dash.cloudflare.com/?to=/:account/:zone/dns/records"


@check("tunnel", "every connector holds its connections to Cloudflare", "cloudflare.tunnel")
def tunnel(context: Context) -> Iterator[Finding]:
    """By the Deployment, and what Cloudflare says of the tunnel's connectors."""
    edge = context.settings.cloudflare
    if not edge.enabled:
        return
    name, key = f"{context.settings.ingress.namespace}/{CLOUDFLARED}", "cloudflare.tunnel"
    replicas = edge.tunnel.replicas
    yield from workload(context, "Deployment", name, config=f"{key}.replicas", replicas=replicas)
    own = _own_tunnel(context)
    if own is None:
        seen = f"Cloudflare knows no tunnel {edge.tunnel.name}"
        yield critical("tunnel", seen, "the stack's tunnel", config=f"{key}.name", next_=context.up)
        return
    connectors = context.cloudflare.connectors(own.id)
    if not connectors and context.simulated:
        raise UnseenError(SIMULATED)
    yield from _connections(context, own, connectors, name)


def _own_tunnel(context: Context) -> Tunnel | None:
    """The tunnel of the stack's state, else the one of its name."""
    ids = {resource.id.rpartition("/")[2] for resource in context.state if resource.type == TUNNEL}
    wanted = context.settings.cloudflare.tunnel.name
    return next((t for t in context.cloudflare.tunnels() if t.id in ids or (not ids and t.name == wanted)), None)


def _connections(context: Context, own: Tunnel, connectors: list[Connector], deployment: str) -> Iterator[Finding]:
    replicas, key = context.settings.cloudflare.tunnel.replicas, "cloudflare.tunnel"
    namespace = deployment.partition("/")[0]
    logs = context.kubectl(f"-n {namespace} logs -l app.kubernetes.io/name={CLOUDFLARED} --tail=50")
    after = [f"Deployment {deployment}", "policies"]
    active = [connector for connector in connectors if connector.connections]
    if not active:
        seen = f"is {own.status}: no connector is connected"
        yield critical("tunnel", seen, f"{replicas} connectors", config=f"{key}.transport", next_=logs, after=after)
    elif len(active) < replicas:
        seen = f"is {own.status}: {len(active)} of {replicas} connectors are connected"
        yield warning("tunnel", seen, f"{replicas}", config=f"{key}.replicas", next_=logs, after=after)
    for connector in active:
        if connector.connections < CONNECTIONS:
            yield warning(
                f"connector {connector.id}",
                f"holds {connector.connections} connections",
                str(CONNECTIONS),
                config=f"{key}.transport",
                next_=logs,
                after=["tunnel", *after],
            )


@check("dns-records", "public records are those declared, and lead to this tunnel", "cloudflare.dns")
def dns_records(context: Context) -> Iterator[Finding]:
    """By Cloudflare's view of the zone, the stack's state and the published applications."""
    if not context.settings.cloudflare.enabled:
        return
    records = context.cloudflare.dns_records()
    yield from _own_records(context, records)
    yield from _published(context, records)
    yield from _foreign(context, records)


def _own_records(context: Context, records: list[DnsRecord]) -> Iterator[Finding]:
    declared = [resource for resource in context.state if resource.type == DNS_RECORD]
    if not declared:
        yield unknown("own DNS records", "the stack has no state yet")
    by_id = {record.id: record for record in records}
    for resource in declared:
        inputs, found = resource.inputs, by_id.get(resource.id.rpartition("/")[2])
        subject = f"DNS record {inputs['name']}"
        wanted = (
            f"{inputs['type']} {inputs.get('content') or ''}{' (proxied)' if inputs.get('proxied') else ''}".strip()
        )
        if found is None:
            yield critical(subject, "is not in the zone", wanted, config="cloudflare.dns", next_=context.up)
        elif inputs.get("content") and (found.type, found.content, found.proxied) != (
            inputs["type"],
            inputs["content"],
            bool(inputs.get("proxied")),
        ):
            yield critical(subject, _shown(found), wanted, config="cloudflare.dns", next_=context.up)


def _shown(record: DnsRecord) -> str:
    return f"{record.type} {record.content}{' (proxied)' if record.proxied else ''}"


def _published(context: Context, records: list[DnsRecord]) -> Iterator[Finding]:
    """Hosts behind the tunnel: by external-dns, which leaves alone what it did not make and says so in its log only."""
    settings = context.settings
    target = settings.cloudflare.hostname(settings.cluster.domain)
    external_dns = f"{settings.ingress.namespace}/{EXTERNAL_DNS}"
    if settings.cloudflare.dns.external_dns:
        yield from workload(context, "Deployment", external_dns, config="cloudflare.dns.externalDns", replicas=1)
    by_name = {record.name: record for record in records if record.type in {"A", "AAAA", "CNAME"}}
    missing = []
    for each in settings.cloudflare.behind_tunnel(settings.published):
        found = by_name.get(each.host)
        if found is None:
            missing.append(each)
        elif (found.type, found.content) != ("CNAME", target) and each.host != target:
            yield critical(
                f"DNS record {each.host}",
                _shown(found),
                f"CNAME {target} (proxied)",
                config=f"applications.{each.name}.host",
                next_=f"dig +short {each.host} CNAME   # and {ZONE_PAGE}",
            )
    if missing and context.simulated:
        yield from (unknown(f"DNS record {each.host}", SIMULATED) for each in missing)
        return
    for each in missing:
        logs = context.kubectl(f"-n {settings.ingress.namespace} logs deployment/{EXTERNAL_DNS} --tail=50")
        yield critical(
            f"DNS record {each.host}",
            "is not in the zone",
            f"CNAME {target} (proxied)",
            config=f"applications.{each.name}.host",
            next_=logs,
            after=[f"Deployment {external_dns}", f"Ingress {each.namespace}/{each.name}"],
        )


def _foreign(context: Context, records: list[DnsRecord]) -> Iterator[Finding]:
    own = _own_tunnel(context)
    tunnels = {known.id: known.name for known in context.cloudflare.tunnels()}
    for record in records:
        subject = f"DNS record {record.name}"
        if record.content.endswith(f".{TUNNEL_DOMAIN}"):
            id_ = record.content.removesuffix(f".{TUNNEL_DOMAIN}")
            if id_ not in tunnels:
                seen = f"leads to tunnel {id_}, which does not exist: visitors see error 1033"
                yield critical(subject, seen, "no such record", config="cloudflare.dns", next_=ZONE_PAGE)
            elif own and id_ != own.id:
                seen = f"leads to tunnel {tunnels[id_]}, past this stack's"
                yield warning(subject, seen, "the one tunnel of the stack", config="cloudflare.dns", next_=ZONE_PAGE)
        if record.type == "A" and _private(record.content):
            seen = f"publishes the private address {record.content}"
            yield warning(subject, seen, "an address of the internet", config="cloudflare.dns", next_=ZONE_PAGE)


def _private(content: str) -> bool:
    try:
        address = IPv4Address(content)
    except AddressValueError:
        return False
    return any(address in network for network in PRIVATE_NETWORKS)
