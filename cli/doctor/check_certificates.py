"""Certificates: cert-manager runs, its issuers work, and what they issued lives long enough.

By what cert-manager says of them. The Secrets with keys are never read; `lan-requests` sees what is really served.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from cli.doctor.context import SIMULATED, Context, condition, name_of
from cli.doctor.expiry import expiry
from cli.doctor.findings import Finding, critical, unknown, warning
from cli.doctor.registry import check
from cli.doctor.workloads import workload
from components.certificates import CA_ISSUER, CA_SECRET, LETSENCRYPT_ISSUERS, SELF_SIGNED_ISSUER, cluster_issuer


@check("issuers", "cert-manager runs and its issuers are ready", "certificates")
def issuers(context: Context) -> Iterator[Finding]:
    """By the Deployments and the ClusterIssuers' conditions."""
    settings = context.settings.certificates
    if not settings.enabled:
        return
    for part in ("cert-manager", "cert-manager-webhook", "cert-manager-cainjector"):
        name = f"{settings.namespace}/{part}"
        yield from workload(context, "Deployment", name, config="certificates.replicas", replicas=settings.replicas)
    found = {item["metadata"]["name"]: item for item in context.items("/apis/cert-manager.io/v1/clusterissuers")}
    wanted = dict.fromkeys([SELF_SIGNED_ISSUER, CA_ISSUER] if settings.internal_ca else [], "certificates.internalCa")
    wanted |= dict.fromkeys(LETSENCRYPT_ISSUERS.values() if settings.letsencrypt else [], "certificates.letsencrypt")
    for name, key in wanted.items():
        subject = f"ClusterIssuer {name}"
        ready = condition(found.get(name, {}), "Ready")
        if name not in found:
            yield critical(subject, "does not exist", "an issuer", config=key, next_=context.up)
        elif not ready and context.simulated:
            yield unknown(subject, SIMULATED)
        elif ready.get("status") != "True":
            seen = f"is not ready: {ready.get('message', 'cert-manager has not looked at it')}"
            look = context.kubectl(f"describe clusterissuer {name}")
            yield critical(subject, seen, "Ready", config=key, next_=look, after=_controller(context))


def _controller(context: Context) -> list[str]:
    namespace = context.settings.certificates.namespace
    return [f"Deployment {namespace}/cert-manager", f"Deployment {namespace}/cert-manager-webhook"]


@check("certificates", "certificates are issued, by the issuer declared, and not about to expire", "certificates")
def certificates(context: Context) -> Iterator[Finding]:
    """By every Certificate object of the cluster."""
    if not context.settings.certificates.enabled:
        return
    found = {name_of(item): item for item in context.items("/apis/cert-manager.io/v1/certificates")}
    declared = _declared(context)
    for secret, (issuer, key) in declared.items():
        if secret not in {_secret(item) for item in found.values()}:
            yield critical(f"Certificate {secret}", "does not exist", f"one of {issuer}", config=key, next_=context.up)
    for name, item in found.items():
        issuer, key = declared.get(_secret(item), ("", "certificates"))
        yield from _issuer(context, name, item, issuer, key)
        yield from _state(context, name, item, key)


def _secret(certificate: Mapping[str, Any]) -> str:
    return f"{certificate['metadata']['namespace']}/{certificate['spec']['secretName']}"


def _declared(context: Context) -> dict[str, tuple[str, str]]:
    """Secrets `namespace/name` of the declared certificates: the ClusterIssuer, and the key that declares it."""
    settings, ingress = context.settings.certificates, context.settings.ingress
    found: dict[str, tuple[str, str]] = {}
    if settings.internal_ca:
        found[f"{settings.namespace}/{CA_SECRET}"] = (SELF_SIGNED_ISSUER, "certificates.internalCa")
    for name, entry in ingress.classes.items():
        secret = ingress.default_certificate(name)
        if secret and entry.certificate_issuer:
            issuer = cluster_issuer(settings, entry.certificate_issuer)
            found[secret] = (issuer, f"ingress.classes.{name}.certificateIssuer")
    return found


def _issuer(context: Context, name: str, certificate: Mapping[str, Any], issuer: str, key: str) -> Iterator[Finding]:
    seen = certificate["spec"]["issuerRef"]["name"]
    if issuer and seen != issuer:
        yield critical(
            f"Certificate {name}", f"is asked of {seen}", issuer, config=key, next_=_describe(context, certificate)
        )


def _describe(context: Context, certificate: Mapping[str, Any]) -> str:
    metadata = certificate["metadata"]
    return context.kubectl(f"-n {metadata['namespace']} describe certificate,certificaterequest {metadata['name']}")


def _state(context: Context, name: str, certificate: Mapping[str, Any], key: str) -> Iterator[Finding]:
    subject, look = f"Certificate {name}", _describe(context, certificate)
    status = certificate.get("status") or {}
    ready = condition(certificate, "Ready")
    after = [f"ClusterIssuer {certificate['spec']['issuerRef']['name']}", *_controller(context)]
    ends = status.get("notAfter")
    if not ready and not ends and context.simulated:
        yield unknown(subject, SIMULATED)
        return
    soon = (
        [*expiry(context, subject, "", datetime.fromisoformat(ends), config=key, next_=look, after=after)]
        if ends
        else []
    )
    said = ready.get("message") if ready.get("status") == "False" else ""
    if soon:
        yield replace(soon[0], seen=f"{soon[0].seen}; {said}" if said else soon[0].seen)
    elif ready.get("status") != "True":
        seen = f"is not ready: {ready.get('message', 'cert-manager has not looked at it')}"
        yield critical(subject, seen, "Ready", config=key, next_=look, after=after)
    elif status.get("renewalTime") and (context.now - datetime.fromisoformat(status["renewalTime"])).days >= 1:
        seen = f"was due for renewal on {status['renewalTime']}"
        yield warning(subject, seen, "a new certificate by then", config=key, next_=look, after=after)
