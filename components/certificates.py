"""Certificates: cert-manager, its issuers, and the default certificates of the ingress classes.

Owns the namespace and the release of cert-manager, the ClusterIssuers and one wildcard certificate for each class that
names an issuer. Leaves the certificates of single hosts to the Ingress objects, which name an issuer by annotation
(`cluster_issuer`), and those of class tailscale to the tailnet.
"""

from dataclasses import dataclass
from typing import Any, Self

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.core.v1 import Namespace, Secret
from pulumi_kubernetes.helm.v3 import Release
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from components.charts import one_a_node, release_args
from settings.certificates import CertManager, Environment, InternalCa, LetsEncrypt
from settings.charts.model import Chart
from settings.cluster import Cluster
from settings.fields import Resources
from settings.ingress import CertificateIssuer, Ingress
from settings.monitoring import Monitoring
from settings.stack import Settings

API_VERSION = "cert-manager.io/v1"

CA_ISSUER = "ca-issuer"
"""The ClusterIssuer that signs with the internal certificate authority."""

CA_SECRET = "internal-ca"  # noqa: S105 - the name of the Secret
"""The Secret with the internal authority's key and certificate, in cert-manager's namespace."""

SELF_SIGNED_ISSUER = "selfsigned"
"""The ClusterIssuer that signs the authority itself, and nothing else."""

DNS_TOKEN_SECRET, DNS_TOKEN_KEY = "cloudflare-api-token", "api-token"
"""Where the solvers read the Cloudflare token, in cert-manager's namespace."""

REVISIONS = 3
"""CertificateRequests kept for each certificate: enough to compare a renewal that fails with the one that worked."""

WAIT_UNTIL_READY = {"pulumi.com/waitFor": "condition=Ready", "pulumi.com/timeoutSeconds": "600"}
"""Annotations that make Pulumi wait for the certificate and not only for the object that asks for it."""

COMMON_NAME_LETTERS = 64
"""The longest common name (RFC 5280, ub-common-name), as cert-manager's webhook has it."""

ACME_SERVERS = {
    Environment.STAGING: "https://acme-staging-v02.api.letsencrypt.org/directory",
    Environment.PRODUCTION: "https://acme-v02.api.letsencrypt.org/directory",
}

LETSENCRYPT_ISSUERS = {Environment.STAGING: "letsencrypt-staging", Environment.PRODUCTION: "letsencrypt-prod"}
"""ClusterIssuers of Let's Encrypt; both exist, so that one host can be tried on staging by annotation."""


def cluster_issuer(certificates: CertManager, issuer: CertificateIssuer) -> str:
    """The name of the ClusterIssuer behind an issuer, for `issuerRef` and `cert-manager.io/cluster-issuer`."""
    if issuer is CertificateIssuer.INTERNAL_CA:
        return CA_ISSUER
    assert certificates.letsencrypt is not None, "a rule requires the issuer of every class"
    return LETSENCRYPT_ISSUERS[certificates.letsencrypt.environment]


@dataclass(frozen=True, kw_only=True)
class CertificatesArgs:
    """Settings arrive valid. `ingress.namespace` must exist.

    `dns_token` is the Cloudflare token for DNS-01 challenges, a secret output; needed when `letsencrypt` is set.
    `kubectl` is the command, with its context, that `ca_certificate_command` starts with.
    """

    certificates: CertManager
    ingress: Ingress
    cluster: Cluster
    monitoring: Monitoring
    chart: Chart
    dns_token: pulumi.Output[str] | None
    protect: bool
    kubectl: str = "kubectl"

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """What this component takes of a stack's settings."""
        return cls(
            certificates=settings.certificates,
            ingress=settings.ingress,
            cluster=settings.cluster,
            monitoring=settings.monitoring,
            chart=settings.charts["cert-manager"],
            dns_token=settings.secrets.get("certManagerApiToken"),
            protect=settings.kubernetes.protect,
            kubectl=f"kubectl --context {settings.kubernetes.context}",
        )


class Certificates(pulumi.ComponentResource):
    """cert-manager and what it issues (`anton:network:Certificates`).

    Registers the namespace, the release `cert-manager` with its CRDs, the Cloudflare token's Secret, the
    ClusterIssuers, and one Certificate for each default certificate of an ingress class. `issuers` maps an issuer of
    the settings to its ClusterIssuer; `ready` are the default certificates, for controllers to come after.
    `ca_certificate_command` prints the internal authority's certificate into a file; None without one.
    """

    namespace: pulumi.Output[str]
    issuers: pulumi.Output[dict[str, str]]
    ready: list[pulumi.Resource]
    ca_certificate_command: pulumi.Output[str] | None

    def __init__(self, name: str, args: CertificatesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("anton:network:Certificates", name, {}, opts)
        certificates = args.certificates
        # Without the namespace or the CRDs every certificate of the cluster is gone: both are protected.
        namespace = Namespace(
            f"{name}-namespace",
            metadata=ObjectMetaArgs(
                name=certificates.namespace, labels={"pod-security.kubernetes.io/enforce": "restricted"}
            ),
            opts=pulumi.ResourceOptions(parent=self, protect=args.protect),
        )
        self.namespace = namespace.metadata.apply(lambda metadata: metadata.name or certificates.namespace)
        # The release counts as created only when the chart's hook `startupapicheck` has had an object accepted through
        # the webhook. Waiting for the Deployment alone is too early: the CA injector hands the webhook's certificate
        # to the API server some time after the pods are ready, and issuers are refused until then.
        release = Release(
            f"{name}-release",
            release_args(args.chart, name="cert-manager", namespace=self.namespace, values=cert_manager_values(args)),
            opts=pulumi.ResourceOptions(parent=self, protect=args.protect),
        )
        issuers: dict[CertificateIssuer, CustomResource] = {}
        if certificates.letsencrypt:
            issuers[CertificateIssuer.LETSENCRYPT] = self._letsencrypt(name, args, certificates.letsencrypt, release)
        if certificates.internal_ca:
            issuers[CertificateIssuer.INTERNAL_CA] = self._internal_ca(name, args, certificates.internal_ca, release)
        self.ready = [
            CustomResource(
                f"{name}-default-{wanted.namespace}-{wanted.secret}",
                api_version=API_VERSION,
                kind="Certificate",
                metadata=ObjectMetaArgs(
                    name=wanted.secret,
                    namespace=wanted.namespace,
                    annotations=WAIT_UNTIL_READY if certificates.wait_until_issued else None,
                ),
                spec=certificate_spec(args, wanted),
                opts=pulumi.ResourceOptions(parent=self, depends_on=[issuers[wanted.issuer]]),
            )
            for wanted in default_certificates(args.ingress)
        ]
        self.issuers = pulumi.Output.from_input(
            {issuer.value: cluster_issuer(certificates, issuer) for issuer in issuers}
        )
        read = f"get secret {CA_SECRET} -o jsonpath='{{.data.tls\\.crt}}' | base64 -d > internal-ca.crt"
        self.ca_certificate_command = (
            pulumi.Output.concat(args.kubectl, " -n ", self.namespace, " ", read) if certificates.internal_ca else None
        )
        self.register_outputs({"namespace": self.namespace, "issuers": self.issuers})

    def _letsencrypt(
        self, name: str, args: CertificatesArgs, letsencrypt: LetsEncrypt, release: Release
    ) -> CustomResource:
        """Both ACME issuers; returns the one that is in force."""
        assert args.dns_token is not None, "the settings require certManagerApiToken where letsencrypt is set"
        token = Secret(
            f"{name}-cloudflare-api-token",
            metadata=ObjectMetaArgs(name=DNS_TOKEN_SECRET, namespace=self.namespace),
            string_data={DNS_TOKEN_KEY: args.dns_token},
            opts=pulumi.ResourceOptions(parent=self),
        )
        issuers = {
            environment: self._issuer(
                LETSENCRYPT_ISSUERS[environment],
                name,
                {"acme": acme_spec(letsencrypt, environment, args.cluster.domain)},
                [release, token],
            )
            for environment in Environment
        }
        return issuers[letsencrypt.environment]

    def _internal_ca(self, name: str, args: CertificatesArgs, ca: InternalCa, release: Release) -> CustomResource:
        """Self-signed issuer, the authority's certificate, and the issuer that signs with it; returns the last."""
        self_signed = self._issuer(SELF_SIGNED_ISSUER, name, {"selfSigned": {}}, [release])
        root = CustomResource(
            f"{name}-internal-ca",
            api_version=API_VERSION,
            kind="Certificate",
            # A ClusterIssuer reads its Secret in cert-manager's own namespace.
            metadata=ObjectMetaArgs(name=CA_SECRET, namespace=self.namespace),
            spec=root_spec(ca, args.cluster.domain),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[self_signed]),
        )
        return self._issuer(CA_ISSUER, name, {"ca": {"secretName": CA_SECRET}}, [release, root])

    def _issuer(
        self, issuer: str, name: str, spec: dict[str, Any], depends_on: list[pulumi.Resource]
    ) -> CustomResource:
        return CustomResource(
            f"{name}-{issuer}",
            api_version=API_VERSION,
            kind="ClusterIssuer",
            metadata=ObjectMetaArgs(name=issuer),
            spec=spec,
            opts=pulumi.ResourceOptions(parent=self, depends_on=depends_on),
        )


@dataclass(frozen=True, order=True)
class DefaultCertificate:
    """A certificate that an ingress class serves to hosts without their own."""

    namespace: str
    secret: str
    issuer: CertificateIssuer


def default_certificates(ingress: Ingress) -> list[DefaultCertificate]:
    """What the classes with a `certificateIssuer` serve; classes that share a Secret share the certificate."""
    wanted = set()
    for name, controller in ingress.classes.items():
        secret = ingress.default_certificate(name)
        if controller.certificate_issuer and secret:
            namespace, name_of_secret = secret.split("/")
            wanted.add(DefaultCertificate(namespace, name_of_secret, controller.certificate_issuer))
    return sorted(wanted)


def certificate_spec(args: CertificatesArgs, wanted: DefaultCertificate) -> dict[str, Any]:
    """The spec of a Certificate (cert-manager.io/v1) for the cluster's domain and every name one label below it."""
    certificates, domain = args.certificates, args.cluster.domain
    lifetime = certificates.letsencrypt if wanted.issuer is CertificateIssuer.LETSENCRYPT else certificates.internal_ca
    assert lifetime is not None, "a rule requires the issuer of every class"
    return {
        "secretName": wanted.secret,
        "issuerRef": {
            "group": "cert-manager.io",
            "kind": "ClusterIssuer",
            "name": cluster_issuer(certificates, wanted.issuer),
        },
        # Clients go by the DNS names; cert-manager refuses a longer common name.
        **({"commonName": domain} if len(domain) <= COMMON_NAME_LETTERS else {}),
        "dnsNames": [domain, f"*.{domain}"],
        "duration": _days(lifetime.duration_days),
        "renewBefore": _days(lifetime.renew_before_days),
        "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
        "revisionHistoryLimit": REVISIONS,
    }


def root_spec(ca: InternalCa, domain: str) -> dict[str, Any]:
    """The spec of the authority's own Certificate."""
    return {
        "secretName": CA_SECRET,
        "issuerRef": {"group": "cert-manager.io", "kind": "ClusterIssuer", "name": SELF_SIGNED_ISSUER},
        "isCA": True,
        "commonName": f"{domain} internal CA"[-COMMON_NAME_LETTERS:],
        "duration": _days(ca.root_duration_days),
        "renewBefore": _days(ca.root_renew_before_days),
        # The key stays: clients that imported the certificate before its renewal go on trusting what it signs.
        "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Never"},
        "revisionHistoryLimit": REVISIONS,
    }


def acme_spec(letsencrypt: LetsEncrypt, environment: Environment, domain: str) -> dict[str, Any]:
    """The `acme` part of a ClusterIssuer that proves names of `domain` by DNS-01 at Cloudflare."""
    token = {"name": DNS_TOKEN_SECRET, "key": DNS_TOKEN_KEY}
    return {
        "server": ACME_SERVERS[environment],
        **({"email": letsencrypt.email} if letsencrypt.email else {}),
        "privateKeySecretRef": {"name": f"{LETSENCRYPT_ISSUERS[environment]}-account"},
        "solvers": [{"dns01": {"cloudflare": {"apiTokenSecretRef": token}}, "selector": {"dnsZones": [domain]}}],
    }


def _days(count: int) -> str:
    """A duration as the API server stores it."""
    return f"{count * 24}h0m0s"


def cert_manager_values(args: CertificatesArgs) -> dict[str, Any]:
    """The values of the cert-manager chart (1.21). Every key is proved in tests/charts/test_cert_manager.py."""
    certificates = args.certificates
    return {
        # With its CRDs Helm would delete every certificate and issuer of the cluster.
        "crds": {"enabled": True, "keep": True},
        "global": {
            "priorityClassName": "system-cluster-critical",
            # The default is kube-system, which this program does not write to.
            "leaderElection": {"namespace": certificates.namespace},
        },
        **_pods(certificates, "controller", certificates.controller_resources),
        "webhook": _pods(certificates, "webhook", certificates.webhook_resources),
        "cainjector": _pods(certificates, "cainjector", certificates.cainjector_resources),
        "startupapicheck": {"enabled": True},
        # The cluster's own resolvers may answer for the domain from the LAN, where no challenge record ever appears.
        "dns01RecursiveNameservers": ",".join(certificates.dns01_nameservers),
        "dns01RecursiveNameserversOnly": True,
        "prometheus": {"enabled": True, "servicemonitor": args.monitoring.service_monitor()},
    }


def _pods(certificates: CertManager, component: str, resources: Resources) -> dict[str, Any]:
    """What the three Deployments have in common; `component` is their label."""
    own_pods = {"app.kubernetes.io/instance": "cert-manager", "app.kubernetes.io/component": component}
    return {
        "replicaCount": certificates.replicas,
        # A budget for a single pod would keep its node from being drained.
        "podDisruptionBudget": {"enabled": certificates.replicas > 1},
        "resources": resources.values(),
        "topologySpreadConstraints": one_a_node(own_pods),
    }
