"""Certificates: issuers, default certificates, their order, and the rules. Chart values are proved by rendering."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pulumi
import pytest

from components.certificates import Certificates, CertificatesArgs, cluster_issuer
from settings.ingress import CertificateIssuer
from settings.stack import Settings
from tests.support.configs import STAND_IN_SECRETS, merged, settings_with
from tests.support.faults import faults_of
from tests.support.recorder import Registration, record

pytestmark = pytest.mark.unit

BOTH: dict[str, Any] = {
    "certificates": {
        "enabled": True,
        "letsencrypt": {"environment": "production", "email": "hostmaster@anton.example"},
    },
    "ingress": {
        "classes": {
            "external": {"certificateIssuer": "letsencrypt", "defaultCertificate": "network/example-com-tls"},
            "internal": {"certificateIssuer": "internal-ca"},
        }
    },
}
"""The specification: public certificates for the external class, the internal authority for the internal one."""

BARE_CLASSES = {name: {"certificateIssuer": None, "defaultCertificate": None} for name in ("external", "internal")}


def settings_of(change: Mapping[str, Any] | None = None) -> Settings:
    return settings_with(merged(merged({"ingress": {"classes": BARE_CLASSES}}, BOTH), change or {}))


def arguments(settings: Settings) -> CertificatesArgs:
    """What the program hands to the component."""
    token = {"certManagerApiToken": pulumi.Output.secret(STAND_IN_SECRETS["certManagerApiToken"])}
    return CertificatesArgs.of(replace(settings, secrets=token if settings.certificates.letsencrypt else {}))


def recorded(change: Mapping[str, Any] | None = None) -> dict[str, Registration]:
    """The registrations by Kubernetes kind and name."""

    def identity(entry: Registration) -> str:
        kind = entry.inputs.get("kind") or entry.type.rpartition(":")[2]
        return f"{kind}/{entry.inputs['metadata']['name'] if 'metadata' in entry.inputs else entry.name}"

    settings = settings_of(change)
    return {identity(entry): entry for entry in record(lambda: Certificates("certificates", arguments(settings)))}


def spec_of(found: Mapping[str, Registration], identity: str) -> dict[str, Any]:
    spec: dict[str, Any] = found[identity].inputs["spec"]
    return spec


def dependencies(entry: Registration) -> set[str]:
    """Logical names of what a resource is registered to come after."""
    depends_on = entry.opts.depends_on
    assert isinstance(depends_on, list)
    return {resource._name for resource in depends_on if isinstance(resource, pulumi.Resource)}


# Issuers


@pytest.mark.parametrize(
    ("name", "server"),
    [
        ("letsencrypt-staging", "https://acme-staging-v02.api.letsencrypt.org/directory"),
        ("letsencrypt-prod", "https://acme-v02.api.letsencrypt.org/directory"),
    ],
)
def test_spec_letsencrypt_proves_the_domain_by_dns_at_cloudflare(name: str, server: str) -> None:
    acme = spec_of(recorded(), f"ClusterIssuer/{name}")["acme"]
    assert acme == {
        "server": server,
        "email": "hostmaster@anton.example",
        "privateKeySecretRef": {"name": f"{name}-account"},
        "solvers": [
            {
                "dns01": {"cloudflare": {"apiTokenSecretRef": {"name": "cloudflare-api-token", "key": "api-token"}}},
                "selector": {"dnsZones": ["example.com"]},
            }
        ],
    }


def test_account_without_a_contact_names_none() -> None:
    acme = spec_of(recorded({"certificates": {"letsencrypt": {"email": None}}}), "ClusterIssuer/letsencrypt-prod")
    assert "email" not in acme["acme"], "the ACME server would be sent an empty address"


def test_dns_token_is_a_secret_where_cluster_issuers_read_theirs() -> None:
    token = recorded()["Secret/cloudflare-api-token"]
    assert token.inputs["metadata"]["namespace"] == "cert-manager", "a ClusterIssuer reads its Secrets there only"
    wrapped = token.inputs["stringData"]
    assert wrapped["4dabf18193072939515e22adb298388d"] == "1b47061264138c4ac30d75fd1eb44270", (
        "the token lost its secret mark and would stand in the state in plain text"
    )
    assert wrapped["value"] == {"api-token": STAND_IN_SECRETS["certManagerApiToken"]}


def test_spec_internal_certificates_come_from_a_self_signed_authority() -> None:
    found = recorded()
    assert spec_of(found, "ClusterIssuer/selfsigned") == {"selfSigned": {}}
    root = found["Certificate/internal-ca"]
    assert root.inputs["metadata"]["namespace"] == "cert-manager", "ca-issuer reads its Secret there only"
    spec = root.inputs["spec"]
    assert spec["isCA"] is True
    assert spec["issuerRef"]["name"] == "selfsigned"
    assert (spec["duration"], spec["renewBefore"]) == ("87600h0m0s", "8760h0m0s")
    assert spec["privateKey"]["algorithm"] == "ECDSA"
    assert spec_of(found, "ClusterIssuer/ca-issuer") == {"ca": {"secretName": spec["secretName"]}}


def test_authority_keeps_its_key_so_that_imported_certificates_stay_good() -> None:
    assert spec_of(recorded(), "Certificate/internal-ca")["privateKey"]["rotationPolicy"] == "Never"


def test_nothing_of_letsencrypt_is_registered_without_it() -> None:
    found = recorded(
        {
            "certificates": {"letsencrypt": None},
            "ingress": {"classes": {"external": {"certificateIssuer": "internal-ca"}}},
        }
    )
    assert not [name for name in found if "letsencrypt" in name or name.startswith("Secret/")]
    assert "ClusterIssuer/ca-issuer" in found


def test_layer_without_an_internal_authority_has_no_self_signed_issuer() -> None:
    settings = settings_with(
        {
            "certificates": {"enabled": True, "letsencrypt": {}},
            "ingress": {"classes": merged(BARE_CLASSES, {"external": {"certificateIssuer": "letsencrypt"}})},
        }
    )
    without = settings.certificates.model_copy(update={"internal_ca": None})
    args = arguments(settings)
    registrations = record(
        lambda: Certificates("certificates", CertificatesArgs(**{**vars(args), "certificates": without}))
    )
    assert not [entry.name for entry in registrations if entry.name.endswith(("selfsigned", "ca-issuer"))]


# Default certificates


@pytest.mark.parametrize(("secret", "issuer"), [("example-com-tls", "letsencrypt-prod"), ("internal-tls", "ca-issuer")])
def test_spec_each_class_serves_a_wildcard_of_its_issuer(secret: str, issuer: str) -> None:
    certificate = recorded()[f"Certificate/{secret}"]
    assert certificate.inputs["metadata"]["namespace"] == "network", "the controller is told network/<secret>"
    spec = certificate.inputs["spec"]
    assert spec["secretName"] == secret
    assert spec["dnsNames"] == ["example.com", "*.example.com"], "a wildcard does not cover the domain itself"
    assert spec["issuerRef"] == {"group": "cert-manager.io", "kind": "ClusterIssuer", "name": issuer}
    assert spec["privateKey"] == {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"}
    assert (spec["duration"], spec["renewBefore"]) == ("2160h0m0s", "720h0m0s"), "90 days, renewed 30 before the end"
    assert spec["revisionHistoryLimit"] == 3


def test_renewal_windows_are_those_of_the_settings() -> None:
    change = {
        "certificates": {
            "letsencrypt": {"durationDays": 45, "renewBeforeDays": 25},
            "internalCa": {"durationDays": 10, "renewBeforeDays": 4},
        }
    }
    found = recorded(change)
    external, internal = spec_of(found, "Certificate/example-com-tls"), spec_of(found, "Certificate/internal-tls")
    assert (external["duration"], external["renewBefore"]) == ("1080h0m0s", "600h0m0s")
    assert (internal["duration"], internal["renewBefore"]) == ("240h0m0s", "96h0m0s")


def test_staging_is_chosen_by_one_setting_and_is_the_default() -> None:
    found = recorded({"certificates": {"letsencrypt": {"environment": None}}})
    assert spec_of(found, "Certificate/example-com-tls")["issuerRef"]["name"] == "letsencrypt-staging", (
        "a first run that fails would use up the limits of the trusted service"
    )
    assert "ClusterIssuer/letsencrypt-prod" in found


def test_class_without_an_issuer_gets_no_certificate() -> None:
    change = {"ingress": {"classes": {"external": {"certificateIssuer": None}}}}
    assert "Certificate/example-com-tls" not in recorded(change), "the Secret is somebody else's"


def test_classes_that_share_a_secret_share_one_certificate() -> None:
    shared = {"certificateIssuer": "letsencrypt", "defaultCertificate": "network/example-com-tls"}
    found = recorded({"ingress": {"classes": {"internal": shared}}})
    names = sorted(name for name in found if name.startswith("Certificate/"))
    assert names == ["Certificate/example-com-tls", "Certificate/internal-ca"], (
        "two would overwrite each other's Secret"
    )


def test_update_waits_for_issued_certificates_only_when_asked() -> None:
    plain = recorded()["Certificate/internal-tls"].inputs["metadata"]
    assert "pulumi.com/waitFor" not in plain.get("annotations", {})
    waiting = recorded({"certificates": {"waitUntilIssued": True}})["Certificate/internal-tls"].inputs["metadata"]
    assert waiting["annotations"] == {"pulumi.com/waitFor": "condition=Ready", "pulumi.com/timeoutSeconds": "600"}


@pytest.mark.parametrize(
    ("issuer", "expected"),
    [(CertificateIssuer.LETSENCRYPT, "letsencrypt-prod"), (CertificateIssuer.INTERNAL_CA, "ca-issuer")],
)
def test_ingress_objects_name_the_same_issuers(issuer: CertificateIssuer, expected: str) -> None:
    assert cluster_issuer(settings_of().certificates, issuer) == expected


# Order, protection, outputs


def test_issuers_wait_for_the_release_whose_hook_proves_the_webhook() -> None:
    found = recorded()
    for name in ("letsencrypt-staging", "letsencrypt-prod", "selfsigned", "ca-issuer"):
        assert "certificates-release" in dependencies(found[f"ClusterIssuer/{name}"]), (
            f"{name} would be refused while the webhook has no certificate"
        )
    values = found["Release/certificates-release"].inputs["values"]
    assert values["startupapicheck"] == {"enabled": True}
    assert not found["Release/certificates-release"].inputs.get("skipAwait"), "the hook would not be waited for"


def test_chain_is_built_from_the_root_up() -> None:
    found = recorded()
    assert dependencies(found["Certificate/internal-ca"]) == {"certificates-selfsigned"}
    assert "certificates-internal-ca" in dependencies(found["ClusterIssuer/ca-issuer"])
    assert dependencies(found["Certificate/internal-tls"]) == {"certificates-ca-issuer"}
    assert dependencies(found["Certificate/example-com-tls"]) == {"certificates-letsencrypt-prod"}
    assert "certificates-cloudflare-api-token" in dependencies(found["ClusterIssuer/letsencrypt-prod"])


def test_namespace_and_release_that_carry_the_definitions_are_protected() -> None:
    found = recorded()
    assert found["Release/certificates-release"].opts.protect is True, "with its CRDs go all certificates"
    assert found["Namespace/cert-manager"].opts.protect is True


def test_release_goes_into_the_namespace_that_the_layer_creates() -> None:
    found = recorded({"certificates": {"namespace": "pki"}})
    assert found["Namespace/pki"].inputs["metadata"]["labels"] == {"pod-security.kubernetes.io/enforce": "restricted"}
    release = found["Release/certificates-release"].inputs
    assert (release["name"], release["namespace"]) == ("cert-manager", "pki")
    assert found["Secret/cloudflare-api-token"].inputs["metadata"]["namespace"] == "pki"
    assert found["Certificate/internal-ca"].inputs["metadata"]["namespace"] == "pki"


def test_outputs_name_the_issuers_the_certificates_and_how_to_get_the_authority() -> None:
    seen: dict[str, Any] = {}

    def build() -> None:
        component = Certificates("certificates", arguments(settings_of()))
        seen["ready"] = [resource._name for resource in component.ready]
        assert component.ca_certificate_command is not None
        outputs = pulumi.Output.all(component.issuers, component.namespace, component.ca_certificate_command)
        outputs.apply(lambda values: seen.update(zip(("issuers", "namespace", "command"), values, strict=True)))

    record(build)
    assert seen["issuers"] == {"letsencrypt": "letsencrypt-prod", "internal-ca": "ca-issuer"}
    assert seen["ready"] == [
        "certificates-default-network-example-com-tls",
        "certificates-default-network-internal-tls",
    ]
    assert seen["namespace"] == "cert-manager"
    assert seen["command"] == (
        "kubectl --context admin@anton -n cert-manager get secret internal-ca "
        r"-o jsonpath='{.data.tls\.crt}' | base64 -d > internal-ca.crt"
    )


# Settings


def certificates(**values: Any) -> dict[str, Any]:
    return merged(merged({"ingress": {"classes": BARE_CLASSES}}, BOTH), {"certificates": values})


def classes(**values: Any) -> dict[str, Any]:
    return merged(BOTH, {"ingress": {"classes": values}})


BAD_VALUES: list[tuple[str, dict[str, Any], str, str]] = [
    # what is wrong, the change, the key it is reported under, a part of the reason
    (
        "Let's Encrypt used and unset",
        certificates(letsencrypt=None),
        "ingress.classes.external.certificateIssuer",
        "certificates.letsencrypt is unset",
    ),
    (
        "issuer used, layer off",
        merged(certificates(enabled=False), {"ingress": {"classes": {"external": {"certificateIssuer": None}}}}),
        "ingress.classes.internal.certificateIssuer",
        "certificates.enabled is false",
    ),
    (
        "certificate in a foreign namespace",
        classes(external={"defaultCertificate": "production/example-com-tls"}),
        "ingress.classes.external.defaultCertificate",
        "network and cert-manager",
    ),
    (
        "two issuers for one Secret",
        classes(internal={"defaultCertificate": "network/example-com-tls"}),
        "ingress.classes.internal.defaultCertificate",
        "overwrite each other",
    ),
    (
        "renewal window as long as the certificate",
        certificates(letsencrypt={"durationDays": 30, "renewBeforeDays": 30}),
        "certificates.letsencrypt.renewBeforeDays",
        "without end",
    ),
    (
        "lifetime that Let's Encrypt does not give",
        certificates(letsencrypt={"durationDays": 365}),
        "certificates.letsencrypt.durationDays",
        "90",
    ),
    (
        "internal renewal window",
        certificates(internalCa={"renewBeforeDays": 90}),
        "certificates.internalCa.renewBeforeDays",
        "without end",
    ),
    (
        "authority that expires before what it signs",
        certificates(internalCa={"rootRenewBeforeDays": 60}),
        "certificates.internalCa.rootRenewBeforeDays",
        "outlive its authority",
    ),
    (
        "authority renewed without end",
        certificates(internalCa={"rootDurationDays": 365}),
        "certificates.internalCa.rootRenewBeforeDays",
        "without end",
    ),
    (
        "contact in a documentation domain",
        certificates(letsencrypt={"email": "ops@example.com"}),
        "certificates.letsencrypt.email",
        "refuses accounts",
    ),
    (
        "contact that is no address",
        certificates(letsencrypt={"email": "ops"}),
        "certificates.letsencrypt.email",
        "one mail address",
    ),
    (
        "plain DNS for challenges",
        certificates(dns01Nameservers=["1.1.1.1:53", "https://1.0.0.1/dns-query"]),
        "certificates.dns01Nameservers[0]",
        "https://",
    ),
    ("no resolver for challenges", certificates(dns01Nameservers=[]), "certificates.dns01Nameservers", "empty"),
    ("more pods than nodes", certificates(replicas=4), "certificates.replicas", "3 nodes"),
    ("namespace of the cluster", certificates(namespace="kube-system"), "certificates.namespace", "cluster"),
    ("namespace of the controllers", certificates(namespace="network"), "certificates.namespace", "ingress.namespace"),
    (
        "request above its limit",
        certificates(webhookResources={"requests": {"memory": "1Gi"}}),
        "certificates.webhookResources.requests.memory",
        "limit of 64Mi",
    ),
]


@pytest.mark.parametrize(("change", "key", "reason"), [case[1:] for case in BAD_VALUES], ids=[c[0] for c in BAD_VALUES])
def test_bad_certificate_setting_is_refused_with_its_reason(change: dict[str, Any], key: str, reason: str) -> None:
    faults = faults_of(change)
    assert faults.keys() == {key}, "each fault is reported once, where it can be mended"
    assert reason in faults[key]


def test_layer_is_off_by_default_and_asks_for_nothing() -> None:
    settings = settings_with({"certificates": None, "ingress": {"classes": BARE_CLASSES}})
    assert not settings.certificates.enabled
