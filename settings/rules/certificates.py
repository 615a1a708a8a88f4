"""Rules between certificates and the ingress controllers that use them."""

from collections.abc import Iterator

from settings.applications import covered_by_wildcard
from settings.fields import WITHOUT, Problem
from settings.ingress import CertificateIssuer
from settings.rules.network import too_few_nodes
from settings.stack import Settings

SETTINGS_OF = {
    CertificateIssuer.LETSENCRYPT: "certificates.letsencrypt",
    CertificateIssuer.INTERNAL_CA: "certificates.internalCa",
}


def issuers(settings: Settings) -> Iterator[Problem]:
    """Every class's issuer is configured."""
    certificates = settings.certificates
    for name, controller in settings.ingress.classes.items():
        issuer = controller.certificate_issuer
        if issuer is None or certificates.configured(issuer):
            continue
        unset = f"{SETTINGS_OF[issuer]} is unset" if certificates.enabled else "certificates.enabled is false"
        others = [other.value for other in CertificateIssuer if certificates.configured(other)]
        reason = f"nobody would sign the certificate: {unset}"
        key = f"ingress.classes.{name}.certificateIssuer"
        because = ("certificates.enabled", SETTINGS_OF[issuer])
        yield Problem(key, issuer.value, reason, others[0] if others else WITHOUT, because)


def secrets(settings: Settings) -> Iterator[Problem]:
    """Default certificates are written where the program may write, and each Secret by one issuer."""
    ingress, own = settings.ingress, (settings.ingress.namespace, settings.certificates.namespace)
    signed: dict[str, str] = {}
    for name, controller in ingress.classes.items():
        secret, issuer = ingress.default_certificate(name), controller.certificate_issuer
        if issuer is None or secret is None:
            continue
        key, example = f"ingress.classes.{name}.defaultCertificate", f"{ingress.namespace}/{name}-tls"
        if secret.split("/")[0] not in own:
            reason = f"is to be written by this program, whose namespaces are {own[0]} and {own[1]}"
            yield Problem(key, secret, reason, example, because=("ingress.namespace", "certificates.namespace"))
        first = signed.setdefault(secret, name)
        if ingress.classes[first].certificate_issuer is not issuer:
            reason = f"is that of class {first} too, which has another issuer; the two would overwrite each other"
            yield Problem(key, secret, reason, example, because=(f"ingress.classes.{first}",))


def own_certificates(settings: Settings) -> Iterator[Problem]:
    """An application's own certificate is in a Secret of its own, `<entry>-tls`, and in no class's default one."""
    ingress = settings.ingress
    defaults = {secret: name for name in ingress.classes if (secret := ingress.default_certificate(name))}
    for application in settings.published:
        controller = ingress.classes.get(application.ingress_class)
        signed = controller is not None and controller.certificate_issuer is not None
        secret = f"{application.namespace}/{application.name}-tls"
        if not signed or covered_by_wildcard(application.host, settings.cluster.domain) or secret not in defaults:
            continue
        reason = f"has its certificate in {secret}, which is the default one of class {defaults[secret]}"
        owner, own = f"ingress.classes.{defaults[secret]}", f"ingress.classes.{application.ingress_class}"
        because = ("ingress.namespace", f"{owner}.defaultCertificate", f"{own}.certificateIssuer")
        yield Problem(f"applications.{application.name}", application.name, reason, f"{application.name}-app", because)


def replicas(settings: Settings) -> Iterator[Problem]:
    """Pods that are spread one a node have enough nodes."""
    if settings.certificates.enabled:
        yield from too_few_nodes(settings, "certificates.replicas", settings.certificates.replicas)


RULES = (issuers, secrets, own_certificates, replicas)
