"""Rules between the Cloudflare edge and the layers behind it."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from settings.applications import Published, covered_by_wildcard
from settings.certificates import Environment
from settings.cloudflare.dns import Record, RecordType
from settings.cloudflare.tunnel import TunnelRule
from settings.fields import WITHOUT, Problem, UnreadError, known, readable
from settings.ingress import TUNNEL_KEEPALIVE_REQUESTS, CertificateIssuer, ClientAddress
from settings.rules.network import too_few_nodes
from settings.stack import Settings

EDGE_CERTIFICATES = ("cloudflare.zone.totalTls", "cloudflare.zone.certificatePacks")
"""Keys that decide which names have a certificate at the edge."""

ADDRESS_TYPES = (RecordType.A, RecordType.AAAA, RecordType.CNAME)


def _behind_tunnel(settings: Settings) -> list[Published]:
    return settings.cloudflare.behind_tunnel(settings.published)


def _under(name: str, domain: str) -> bool:
    return name == domain or name.endswith(f".{domain}")


def tunnel_class(settings: Settings) -> Iterator[Problem]:
    """The class behind the tunnel exists and takes the client's address from Cloudflare's header."""
    if not settings.cloudflare.enabled:
        return
    name = settings.cloudflare.tunnel.ingress_class
    controller = settings.ingress.classes.get(name)
    classes = settings.ingress.classes
    addresses = known(classes, lambda key: classes[key].client_address)
    suited = [key for key, address in addresses if address is ClientAddress.CLOUDFLARE]
    if controller is None:
        example = suited[0] if suited else next(iter(classes), "external")
        reason = "is no class of ingress.classes"
        yield Problem("cloudflare.tunnel.ingressClass", name, reason, example, because=("ingress.classes",))
    elif controller.client_address is not ClientAddress.CLOUDFLARE:
        reason = "is behind the tunnel: without Cloudflare's header every client would have the connector's address"
        key, because = f"ingress.classes.{name}.clientAddress", ("cloudflare.tunnel.ingressClass",)
        yield Problem(key, controller.client_address.value, reason, "cloudflare", because)


def origin_connections(settings: Settings) -> Iterator[Problem]:
    """With HTTP/2 to the origin, NGINX rarely ends a connection: what is under way then can't be sent again."""
    name = settings.cloudflare.tunnel.ingress_class
    controller = settings.ingress.classes.get(name)
    if controller is None or not (settings.cloudflare.serves(name) and settings.cloudflare.tunnel.http2_origin):
        return
    count = controller.tuning.keepalive_requests
    if count is not None and count < TUNNEL_KEEPALIVE_REQUESTS:
        reason = (
            "ends a connection of cloudflare.tunnel.http2Origin that often, and loses the uploads under way each time"
        )
        because = ("cloudflare.tunnel.http2Origin", "cloudflare.tunnel.ingressClass")
        key = f"ingress.classes.{name}.tuning.keepaliveRequests"
        yield Problem(key, count, reason, TUNNEL_KEEPALIVE_REQUESTS, because)


def origin_certificate(settings: Settings) -> Iterator[Problem]:
    """cloudflared can verify the controller's certificate; it is never told not to."""
    tunnel = settings.cloudflare.tunnel
    name = tunnel.ingress_class
    controller = settings.ingress.classes.get(name)
    if not settings.cloudflare.enabled or controller is None:
        return
    key, issuer = f"ingress.classes.{name}.certificateIssuer", controller.certificate_issuer
    because = ("cloudflare.tunnel", f"ingress.classes.{name}", "ingress.namespace")
    certificate = settings.ingress.default_certificate(name)
    if certificate is None:
        reason = "leaves the controller behind the tunnel with a self-signed certificate, which cloudflared refuses"
        yield Problem(key, None, reason, "letsencrypt", because)
    if tunnel.origin_ca_secret:
        return
    letsencrypt = settings.certificates.letsencrypt
    staging = letsencrypt is not None and letsencrypt.environment is Environment.STAGING
    if issuer is CertificateIssuer.LETSENCRYPT and staging:
        reason = (
            "gives the controller behind the tunnel a certificate that nobody trusts: cloudflared would refuse it, "
            "unless cloudflare.tunnel.originCaSecret names its authority"
        )
        example = "production"
        yield Problem("certificates.letsencrypt.environment", "staging", reason, example, because)
    if issuer is CertificateIssuer.INTERNAL_CA and certificate:
        namespace = certificate.partition("/")[0]
        if namespace != settings.ingress.namespace:
            reason = f"is not in {settings.ingress.namespace}, where cloudflared could read its authority's certificate"
            example = f"{settings.ingress.namespace}/{name}-tls"
            yield Problem(f"ingress.classes.{name}.defaultCertificate", certificate, reason, example, because)


def tunnel_names(settings: Settings) -> Iterator[Problem]:
    """The tunnel's name and the hosts of its rules lie in the zone, and no rule hides an application."""
    if settings.cloudflare.enabled:
        rules = enumerate(settings.cloudflare.tunnel.rules)
        yield from readable(
            _tunnel_hostname(settings),
            *(judge(settings, *each) for each in rules for judge in (_rule_host, _rule_before_application)),
        )


def _tunnel_hostname(settings: Settings) -> Iterator[Problem]:
    name, domain = settings.cloudflare.tunnel.hostname, settings.cluster.domain
    if name and (name == domain or not covered_by_wildcard(name, domain)):
        reason = f"is not one label under cluster.domain {domain}, as the controller's certificate wants it"
        yield Problem("cloudflare.tunnel.hostname", name, reason, f"external.{domain}")


def _rule_host(settings: Settings, index: int, rule: TunnelRule) -> Iterator[Problem]:
    key, domain = f"cloudflare.tunnel.rules[{index}].host", settings.cluster.domain
    if not _under(rule.host, domain):
        yield Problem(key, rule.host, f"lies outside cluster.domain {domain}", f"status.{domain}")
    elif not settings.cloudflare.zone.has_certificate(rule.host, domain):
        reason = (
            "has no certificate at the edge: Universal SSL covers one label below the domain, cloudflare.zone.totalTls "
            "all of them"
        )
        yield Problem(key, rule.host, reason, f"{rule.host.partition('.')[0]}.{domain}", because=EDGE_CERTIFICATES)


def _rule_before_application(settings: Settings, index: int, rule: TunnelRule) -> Iterator[Problem]:
    published = {host: each.name for each, host in known(_behind_tunnel(settings), lambda each: each.host)}
    if rule.path is None and rule.host in published:
        reason = f"takes every request for applications.{published[rule.host]}, which nobody would reach"
        because = (f"applications.{published[rule.host]}", "cloudflare.tunnel.ingressClass")
        example = f"{rule.host.partition('.')[0]}-2.{rule.host.partition('.')[2]}"
        yield Problem(f"cloudflare.tunnel.rules[{index}].host", rule.host, reason, example, because)


def replicas(settings: Settings) -> Iterator[Problem]:
    """Connectors are spread one a node, have enough nodes, and outlive one of them."""
    key, wanted = "cloudflare.tunnel.replicas", settings.cloudflare.tunnel.replicas
    if not settings.cloudflare.enabled:
        return
    yield from too_few_nodes(settings, key, wanted)
    if wanted == 1 < len(settings.nodes_for_pods):
        reason = "whatever the tunnel publishes would be gone with the node of its one connector"
        yield Problem(key, wanted, reason, 2, because=("physical.nodes",))


def name_owners(settings: Settings) -> Iterator[Problem]:
    """Every DNS name has one owner: the tunnel, an application, or the settings' own records."""
    if settings.cloudflare.enabled:
        records = settings.cloudflare.dns.records
        yield from readable(
            *(_tunnels_own_name(settings, each) for each in _behind_tunnel(settings)),
            *(_apex_without_record(settings, each) for each in _behind_tunnel(settings)),
            *(judge(settings, key) for key in records for judge in (_outside_zone, _second_owner, _past_the_tunnel)),
        )


def _tunnels_own_name(settings: Settings, application: Published) -> Iterator[Problem]:
    # Without a domain that can be read only names that are given in full can be compared.
    tunnel = settings.cloudflare.tunnel
    hostname = tunnel.hostname or settings.cloudflare.hostname(settings.cluster.domain)
    if application.host == hostname:
        reason = "is the tunnel's own name (cloudflare.tunnel.hostname), which every other name points to"
        key, example = f"applications.{application.name}.host", f"{application.name}-app.{hostname.partition('.')[2]}"
        yield Problem(key, hostname, reason, example, because=("cloudflare.tunnel",))


def _apex_without_record(settings: Settings, application: Published) -> Iterator[Problem]:
    domain = settings.cluster.domain
    if application.host == domain and not settings.cloudflare.dns.apex:
        reason = f"leaves applications.{application.name} at {domain} without a record; external-dns can't own the apex"
        because = (f"applications.{application.name}", "cloudflare.tunnel.ingressClass")
        yield Problem("cloudflare.dns.apex", False, reason, True, because)


def _outside_zone(settings: Settings, key: str) -> Iterator[Problem]:
    name, domain = settings.cloudflare.dns.records[key].name, settings.cluster.domain
    if not _under(name, domain):
        reason = f"lies outside cluster.domain {domain}, the zone of these records"
        yield Problem(f"cloudflare.dns.records.{key}.name", name, reason, f"{name.partition('.')[0]}.{domain}")


def _second_owner(settings: Settings, key: str) -> Iterator[Problem]:
    record, path = settings.cloudflare.dns.records[key], f"cloudflare.dns.records.{key}"
    owner = _names(settings).get(record.name)
    # A CNAME stands alone at its name (RFC 1034, 3.6.2); at the apex Cloudflare answers with addresses instead.
    if owner and (record.type in ADDRESS_TYPES or record.name != settings.cluster.domain):
        reason = f"belongs to {owner.shown}; {path} would be a second owner"
        because = (owner.key, "cloudflare.tunnel.ingressClass")
        yield Problem(f"{path}.name", record.name, reason, WITHOUT, because)


def _past_the_tunnel(settings: Settings, key: str) -> Iterator[Problem]:
    record, hostname = settings.cloudflare.dns.records[key], settings.cloudflare.hostname(settings.cluster.domain)
    if record.type is RecordType.CNAME and record.content == hostname and not record.proxied:
        reason = f"leads to {hostname}, which is proxied: unproxied, nobody would reach the tunnel"
        because = ("cloudflare.tunnel.hostname",)
        yield Problem(f"cloudflare.dns.records.{key}.proxied", False, reason, True, because)


@dataclass(frozen=True)
class _Owner:
    """Who keeps a DNS name: the key it comes from, and more words on it where needed."""

    key: str
    words: str = ""

    @property
    def shown(self) -> str:
        return f"{self.key}{self.words}"


def _names(settings: Settings) -> dict[str, _Owner]:
    """Names that are taken, with their owners; without those that can't be read."""
    edge = settings.cloudflare
    keeper = "by external-dns" if edge.dns.external_dns else "by the program"
    names: dict[str, _Owner] = {}
    with suppress(UnreadError):
        names[edge.hostname(settings.cluster.domain)] = _Owner("cloudflare.tunnel.hostname", ", the tunnel's own name")
        if edge.dns.apex:
            names.setdefault(settings.cluster.domain, _Owner("cloudflare.dns.apex"))
    for (index, _), host in known(enumerate(edge.tunnel.rules), lambda each: each[1].host):
        names.setdefault(host, _Owner(f"cloudflare.tunnel.rules[{index}]"))
    for application, host in known(_behind_tunnel(settings), lambda each: each.host):
        names.setdefault(host, _Owner(f"applications.{application.name}", f", kept {keeper}"))
    return names


def record_sets(settings: Settings) -> Iterator[Problem]:
    """Records under one name can stand beside each other."""
    records = settings.cloudflare.dns.records
    for key, record in records.items() if settings.cloudflare.enabled else ():
        yield from readable(_stands_alone(settings, key, record))


def _stands_alone(settings: Settings, key: str, record: Record) -> Iterator[Problem]:
    records = settings.cloudflare.dns.records
    names = known(records, lambda each: records[each].name)
    others = [other for other, name in names if name == record.name and other != key]
    if record.type is RecordType.CNAME and others and record.name != settings.cluster.domain:
        reason = f"is the name of {', '.join(others)} too, and a CNAME stands alone"
        because = tuple(f"cloudflare.dns.records.{other}.name" for other in others)
        yield Problem(f"cloudflare.dns.records.{key}.name", record.name, reason, WITHOUT, because)


RULES = (tunnel_class, origin_connections, origin_certificate, tunnel_names, replicas, name_owners, record_sets)
