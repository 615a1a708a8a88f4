"""Requests through each ingress class, as its clients make them: the certificate, the headers, the time."""

from collections.abc import Iterator

from cryptography import x509
from cryptography.x509.oid import NameOID

from cli.doctor.check_ingress import controller_of
from cli.doctor.context import Context, side_by_side
from cli.doctor.expiry import expiry
from cli.doctor.findings import Finding, critical, unknown, warning
from cli.doctor.probes import Answer, ProbeError, Prober
from cli.doctor.registry import check
from settings.certificates import Environment
from settings.ingress import CertificateIssuer, Controller, ServiceType

FAKE = "Kubernetes Ingress Controller Fake Certificate"
"""What ingress-nginx serves when it can't read the certificate that it should."""


@check("lan-requests", "requests to each class on the LAN get the right certificate and headers", "ingress.classes")
def lan_requests(context: Context) -> Iterator[Finding]:
    """By TLS and one GET to the address of each class with a LoadBalancer Service."""
    exposed = [
        name
        for name, entry in context.settings.ingress.classes.items()
        if entry.service_type is ServiceType.LOAD_BALANCER
    ]
    if not exposed:
        return
    context.need_lan()
    for findings in side_by_side(lambda name: list(_through(context, name)), exposed):
        yield from findings


def host_of(context: Context, ingress_class: str) -> str:
    """A published host of a class; one that nobody published gets the default certificate and backend."""
    hosts = [each.host for each in context.settings.published if each.ingress_class == ingress_class]
    return hosts[0] if hosts else f"doctor.{context.settings.cluster.domain}"


def _through(context: Context, name: str) -> Iterator[Finding]:
    address, host = str(context.settings.load_balancer.addresses[name]), host_of(context, name)
    controller, entry = controller_of(context, name), context.settings.ingress.classes[name]
    after = [f"Deployment {controller}", f"Service {controller}", f"announcement of {address}", f"address {address}"]
    curl = f"curl -vkI --resolve {host}:443:{address} https://{host}/"
    subject, key = f"requests to class {name}", f"ingress.classes.{name}"
    try:
        served = context.prober.certificate(address, host)
        answer = context.prober.get(address, "/", host)
    except ProbeError as error:
        yield critical(subject, f"no answer: {error}", "an answer", config=key, next_=curl, after=after)
        return
    yield from _certificate(context, name, host, served)
    yield from _headers(subject, entry, answer, key, curl)
    yield from _quality(context, subject, answer, key, curl, after)


def _certificate(context: Context, name: str, host: str, served: x509.Certificate) -> Iterator[Finding]:
    subject, key = f"certificate served by class {name}", f"ingress.classes.{name}.defaultCertificate"
    address = context.settings.load_balancer.addresses[name]
    look = f"openssl s_client -connect {address}:443 -servername {host} </dev/null | openssl x509 -noout -text"
    own = [f"Certificate {each.namespace}/{each.name}-tls" for each in context.settings.published if each.host == host]
    after = [*own, f"Certificate {context.settings.ingress.default_certificate(name)}"]
    issuer = _issuer(context, name)
    if FAKE in _names(served.subject):
        yield critical(subject, "is the controller's own", f"one for {host}", config=key, next_=look, after=after)
    elif not covers(served, host):
        seen = f"is for {', '.join(alternative_names(served)) or 'no host'}"
        yield critical(subject, seen, f"one for {host}", config=key, next_=look, after=after)
    elif issuer and issuer not in _names(served.issuer):
        seen = f"is signed by {', '.join(_names(served.issuer)) or 'nobody'}"
        issuer_key = f"ingress.classes.{name}.certificateIssuer"
        yield critical(subject, seen, issuer, config=issuer_key, next_=look, after=after)
    yield from expiry(context, subject, "", served.not_valid_after_utc, config=key, next_=look, after=after)


def _issuer(context: Context, name: str) -> str:
    """How the authority of a class is called in its certificates; empty where somebody else chose it."""
    match context.settings.ingress.classes[name].certificate_issuer:
        case CertificateIssuer.INTERNAL_CA:
            return f"{context.settings.cluster.domain} internal CA"
        case CertificateIssuer.LETSENCRYPT:
            letsencrypt = context.settings.certificates.letsencrypt
            staging = letsencrypt and letsencrypt.environment is Environment.STAGING
            return "(STAGING) Let's Encrypt" if staging else "Let's Encrypt"
    return ""


def _names(party: x509.Name) -> list[str]:
    """Common name and organization."""
    wanted = (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME)
    return [str(entry.value) for oid in wanted for entry in party.get_attributes_for_oid(oid)]


def alternative_names(certificate: x509.Certificate) -> list[str]:
    """The DNS names that a certificate is for."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return extension.value.get_values_for_type(x509.DNSName)


def covers(certificate: x509.Certificate, host: str) -> bool:
    """Whether a certificate is for a host; a wildcard stands for one label (RFC 6125)."""
    return not {host, f"*.{host.partition('.')[2]}"}.isdisjoint(alternative_names(certificate))


def _headers(subject: str, entry: Controller, answer: Answer, key: str, curl: str) -> Iterator[Finding]:
    for name, value in entry.add_headers.items():
        seen = answer.headers.get(name.lower())
        if seen != value:
            text = f"header {name} is {seen}" if seen else f"header {name} is missing"
            yield warning(subject, text, f"{name}: {value}", config=f"{key}.addHeaders", next_=curl)
    hsts = entry.tls.hsts
    seen = answer.headers.get("strict-transport-security", "")
    if hsts.enabled and f"max-age={hsts.max_age_seconds}" not in seen:
        text = f"Strict-Transport-Security is {seen or 'missing'}"
        yield warning(subject, text, f"max-age={hsts.max_age_seconds}", config=f"{key}.tls.hsts", next_=curl)


def _quality(
    context: Context, subject: str, answer: Answer, key: str, curl: str, after: list[str]
) -> Iterator[Finding]:
    if answer.status >= 500:
        seen = f"are answered with {answer.status}"
        yield critical(subject, seen, "an answer below 500", config=key, next_=curl, after=after)
    milliseconds, limit = answer.seconds * 1000, context.thresholds.response_milliseconds
    if milliseconds > limit:
        seen = f"took {milliseconds:.0f} ms"
        yield warning(subject, seen, f"{limit} ms at most", config=key, next_=curl, after=after)


EDGE_ERRORS = {
    530: "Cloudflare finds no tunnel behind the name (1033) or no such host (1016)",
    521: "the origin refuses connections",
    522: "the origin does not answer",
    523: "the origin is unreachable",
    525: "TLS to the origin fails",
    526: "the origin's certificate is not trusted",
    502: "cloudflared does not reach the ingress controller",
}
"""What Cloudflare's answers mean here."""


@check("public-requests", "published hosts answer on the internet, through the tunnel", "cloudflare.tunnel")
def public_requests(context: Context) -> Iterator[Finding]:
    """By one GET to each host behind the tunnel, by the resolver of this machine."""
    edge = context.settings.cloudflare
    if not edge.enabled:
        return
    context.need_running_pods()
    hosts = [each.host for each in edge.behind_tunnel(context.settings.published)]
    for host, answer in zip(hosts, side_by_side(lambda host: _public(context.prober, host), hosts), strict=True):
        subject, key, curl = f"requests to {host}", "cloudflare.tunnel", f"curl -vI https://{host}/"
        after = ["tunnel", f"DNS record {host}", f"Deployment {controller_of(context, edge.tunnel.ingress_class)}"]
        if isinstance(answer, ProbeError):
            yield unknown(subject, f"no answer, maybe no way to the internet from here: {answer}")
        elif "cf-ray" not in answer.headers:
            yield unknown(subject, "are answered on this network and not by Cloudflare (split horizon)")
        elif answer.status in EDGE_ERRORS:
            seen = f"{answer.status}: {EDGE_ERRORS[answer.status]}"
            yield critical(subject, seen, "an answer of the application", config=key, next_=curl, after=after)
        else:
            yield from _quality(context, subject, answer, key, curl, after)


def _public(prober: Prober, host: str) -> Answer | ProbeError:
    try:
        return prober.get(host, "/", host)
    except ProbeError as error:
        return error
