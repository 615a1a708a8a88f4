"""Rules between the Cloudflare edge and the layers behind it."""

from collections.abc import Iterator
from dataclasses import dataclass

from settings.applications import Published, covered_by_wildcard
from settings.certificates import Environment
from settings.cloudflare.dns import RecordType
from settings.fields import Problem
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
    suited = [key for key, each in settings.ingress.classes.items() if each.client_address is ClientAddress.CLOUDFLARE]
    if controller is None:
        example = suited[0] if suited else "a class of ingress.classes with clientAddress: cloudflare"
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
        yield Problem(key, None, reason, "letsencrypt, or defaultCertificate with the Secret of one", because)
    if tunnel.origin_ca_secret:
        return
    letsencrypt = settings.certificates.letsencrypt
    staging = letsencrypt is not None and letsencrypt.environment is Environment.STAGING
    if issuer is CertificateIssuer.LETSENCRYPT and staging:
        reason = "gives the controller behind the tunnel a certificate that nobody trusts: cloudflared would refuse it"
        example = "production; until then cloudflare.enabled: false, or cloudflare.tunnel.originCaSecret"
        yield Problem("certificates.letsencrypt.environment", "staging", reason, example, because)
    if issuer is CertificateIssuer.INTERNAL_CA and certificate:
        namespace = certificate.partition("/")[0]
        if namespace != settings.ingress.namespace:
            reason = f"is not in {settings.ingress.namespace}, where cloudflared could read its authority's certificate"
            example = f"{settings.ingress.namespace}/{name}-tls"
            yield Problem(f"ingress.classes.{name}.defaultCertificate", certificate, reason, example, because)


def tunnel_names(settings: Settings) -> Iterator[Problem]:
    """The tunnel's name and the hosts of its rules lie in the zone, and no rule hides an application."""
    edge, domain = settings.cloudflare, settings.cluster.domain
    if not edge.enabled:
        return
    if edge.tunnel.hostname and (
        edge.tunnel.hostname == domain or not covered_by_wildcard(edge.tunnel.hostname, domain)
    ):
        reason = f"is not one label under cluster.domain {domain}, as the controller's certificate wants it"
        yield Problem("cloudflare.tunnel.hostname", edge.tunnel.hostname, reason, f"external.{domain}")
    published = {each.host: each.name for each in _behind_tunnel(settings)}
    for index, rule in enumerate(edge.tunnel.rules):
        key = f"cloudflare.tunnel.rules[{index}].host"
        if not _under(rule.host, domain):
            yield Problem(key, rule.host, f"lies outside cluster.domain {domain}", f"status.{domain}")
        elif not edge.zone.has_certificate(rule.host, domain):
            reason = "has no certificate at the edge: Universal SSL covers one label below the domain"
            example = f"{rule.host.partition('.')[0]}.{domain}, or cloudflare.zone.totalTls"
            yield Problem(key, rule.host, reason, example, because=EDGE_CERTIFICATES)
        if rule.path is None and rule.host in published:
            reason = f"takes every request for applications.{published[rule.host]}, which nobody would reach"
            because = (f"applications.{published[rule.host]}", "cloudflare.tunnel.ingressClass")
            yield Problem(key, rule.host, reason, "another host, or a path", because)


def replicas(settings: Settings) -> Iterator[Problem]:
    """Connectors are spread one a node, have enough nodes, and outlive one of them."""
    key, wanted, nodes = "cloudflare.tunnel.replicas", settings.cloudflare.tunnel.replicas, len(settings.physical.nodes)
    if not settings.cloudflare.enabled:
        return
    if wanted > nodes:
        yield too_few_nodes(key, wanted, nodes)
    if wanted == 1 < nodes:
        reason = "whatever the tunnel publishes would be gone with the node of its one connector"
        yield Problem(key, wanted, reason, 2, because=("physical.nodes",))


def name_owners(settings: Settings) -> Iterator[Problem]:
    """Every DNS name has one owner: the tunnel, an application, or the settings' own records."""
    edge, domain = settings.cloudflare, settings.cluster.domain
    if not edge.enabled:
        return
    hostname = edge.hostname(domain)
    for application in _behind_tunnel(settings):
        if application.host == hostname:
            reason = "is the tunnel's own name (cloudflare.tunnel.hostname), which every other name points to"
            key, example = f"applications.{application.name}.host", f"{application.name}-app.{domain}"
            yield Problem(key, hostname, reason, example, because=("cloudflare.tunnel",))
        if application.host == domain and not edge.dns.apex:
            reason = (
                f"leaves applications.{application.name} at {domain} without a record; external-dns can't own the apex"
            )
            because = (f"applications.{application.name}", "cloudflare.tunnel.ingressClass")
            yield Problem("cloudflare.dns.apex", False, reason, True, because)
    owners = _names(settings)
    for key, record in edge.dns.records.items():
        path = f"cloudflare.dns.records.{key}"
        if not _under(record.name, domain):
            reason = f"lies outside cluster.domain {domain}, the zone of these records"
            yield Problem(f"{path}.name", record.name, reason, f"{record.name.partition('.')[0]}.{domain}")
        owner = owners.get(record.name)
        # A CNAME stands alone at its name (RFC 1034, 3.6.2); at the apex Cloudflare answers with addresses instead.
        if owner and (record.name != domain or record.type in ADDRESS_TYPES):
            reason = f"belongs to {owner.shown}; {path} would be a second owner"
            because = (owner.key, "cloudflare.tunnel.ingressClass")
            yield Problem(f"{path}.name", record.name, reason, "another name", because)
        if record.type is RecordType.CNAME and record.content == hostname and not record.proxied:
            reason = f"leads to {hostname}, which is proxied: unproxied, nobody would reach the tunnel"
            yield Problem(f"{path}.proxied", False, reason, True, because=("cloudflare.tunnel.hostname",))


@dataclass(frozen=True)
class _Owner:
    """Who keeps a DNS name: the key it comes from, and more words on it where needed."""

    key: str
    words: str = ""

    @property
    def shown(self) -> str:
        return f"{self.key}{self.words}"


def _names(settings: Settings) -> dict[str, _Owner]:
    """Names that are taken, with their owners."""
    edge, domain = settings.cloudflare, settings.cluster.domain
    keeper = "by external-dns" if edge.dns.external_dns else "by the program"
    names = {domain: _Owner("cloudflare.dns.apex")} if edge.dns.apex else {}
    for index, rule in enumerate(edge.tunnel.rules):
        names.setdefault(rule.host, _Owner(f"cloudflare.tunnel.rules[{index}]"))
    for application in _behind_tunnel(settings):
        names.setdefault(application.host, _Owner(f"applications.{application.name}", f", kept {keeper}"))
    return names | {edge.hostname(domain): _Owner("cloudflare.tunnel.hostname", ", the tunnel's own name")}


def record_sets(settings: Settings) -> Iterator[Problem]:
    """Records under one name can stand beside each other."""
    records = settings.cloudflare.dns.records
    for key, record in records.items() if settings.cloudflare.enabled else ():
        others = [other for other, each in records.items() if each.name == record.name and other != key]
        if record.type is RecordType.CNAME and others and record.name != settings.cluster.domain:
            reason = f"is the name of {', '.join(others)} too, and a CNAME stands alone"
            yield Problem(f"cloudflare.dns.records.{key}.name", record.name, reason, "another name")


RULES = (tunnel_class, origin_connections, origin_certificate, tunnel_names, replicas, name_owners, record_sets)
