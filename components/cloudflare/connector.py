"""The connectors: cloudflared pods that hold the tunnel up from inside the cluster.

Owns the Deployment `cloudflared`, its credential, disruption budget and metrics Service. The pods meet the `restricted`
level of the Pod Security Standards and need nothing from the cluster but DNS and the external ingress controller.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.apps.v1 import (
    Deployment,
    DeploymentSpecArgs,
    DeploymentStrategyArgs,
    RollingUpdateDeploymentArgs,
)
from pulumi_kubernetes.core.v1 import (
    CapabilitiesArgs,
    ContainerArgs,
    ContainerPortArgs,
    EnvVarArgs,
    EnvVarSourceArgs,
    HTTPGetActionArgs,
    KeyToPathArgs,
    PodSecurityContextArgs,
    PodSpecArgs,
    PodTemplateSpecArgs,
    ProbeArgs,
    ResourceRequirementsArgs,
    SeccompProfileArgs,
    Secret,
    SecretKeySelectorArgs,
    SecretVolumeSourceArgs,
    SecurityContextArgs,
    Service,
    ServicePortArgs,
    ServiceSpecArgs,
    TopologySpreadConstraintArgs,
    VolumeArgs,
    VolumeMountArgs,
)
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, ObjectMetaArgs
from pulumi_kubernetes.policy.v1 import PodDisruptionBudget, PodDisruptionBudgetSpecArgs

from components.cloudflare.tunnel import CA_FILE, rule_ca_file
from settings.cloudflare.tunnel import Tunnel

NAME = "cloudflared"
"""Name of the Deployment, its container and its budget."""

LABELS = {"app.kubernetes.io/name": NAME}

METRICS_PORT = 8080
"""Port of /metrics and /ready."""

USER_ID = 65534
"""`nobody`; cloudflared owns no file."""

STOP_MARGIN_SECONDS = 15
"""What a pod gets beyond cloudflared's own grace period before it is killed."""


@dataclass(frozen=True, kw_only=True)
class ConnectorArgs:
    """The tunnel's settings and credential.

    `namespace` must exist. `token` is secret. `ca_secret` names the Secret in that namespace whose `ca.crt` signs the
    origin's certificate, None for a public authority.
    """

    tunnel: Tunnel
    namespace: pulumi.Input[str]
    token: pulumi.Output[str]
    ca_secret: str | None


class TunnelConnector(pulumi.ComponentResource):
    """The cloudflared Deployment and what it needs (`anton:network:TunnelConnector`)."""

    deployment: pulumi.Output[str]

    def __init__(self, name: str, args: ConnectorArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("anton:network:TunnelConnector", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        # No name of our own, and immutable: a new token is a new Secret under a new name, which the pods' template
        # mentions. So they restart when the token changes, and nothing that is derived from it is readable.
        token = Secret(
            f"{name}-token",
            metadata=ObjectMetaArgs(namespace=args.namespace, labels=LABELS),
            immutable=True,
            string_data={"token": args.token},
            opts=child,
        )
        if args.tunnel.replicas > 1:  # a single pod's budget would let no node be drained
            PodDisruptionBudget(
                f"{name}-budget",
                metadata=ObjectMetaArgs(name=NAME, namespace=args.namespace, labels=LABELS),
                spec=PodDisruptionBudgetSpecArgs(min_available=1, selector=LabelSelectorArgs(match_labels=LABELS)),
                opts=child,
            )
        deployment = Deployment(
            f"{name}-deployment",
            metadata=ObjectMetaArgs(name=NAME, namespace=args.namespace, labels=LABELS),
            spec=DeploymentSpecArgs(
                replicas=args.tunnel.replicas,
                strategy=DeploymentStrategyArgs(
                    type="RollingUpdate", rolling_update=RollingUpdateDeploymentArgs(max_surge=1, max_unavailable=0)
                ),
                selector=LabelSelectorArgs(match_labels=LABELS),
                template=PodTemplateSpecArgs(
                    metadata=ObjectMetaArgs(labels=LABELS),
                    spec=_pod(args, token.metadata.name),
                ),
            ),
            opts=child,
        )
        Service(
            f"{name}-metrics",
            metadata=ObjectMetaArgs(name=f"{NAME}-metrics", namespace=args.namespace, labels=LABELS),
            spec=ServiceSpecArgs(
                selector=LABELS,
                ports=[ServicePortArgs(name="metrics", port=METRICS_PORT, target_port="metrics", protocol="TCP")],
            ),
            opts=child,
        )
        self.deployment = deployment.metadata.apply(lambda metadata: metadata.name or NAME)
        self.register_outputs({"deployment": self.deployment})


def _pod(args: ConnectorArgs, token_secret: pulumi.Input[str]) -> PodSpecArgs:
    tunnel = args.tunnel
    return PodSpecArgs(
        containers=[_container(args, token_secret)],
        # Without it every request from the internet stops: it is evicted last.
        priority_class_name="system-cluster-critical",
        automount_service_account_token=False,
        enable_service_links=False,
        termination_grace_period_seconds=tunnel.grace_period_seconds + STOP_MARGIN_SECONDS,
        security_context=PodSecurityContextArgs(
            run_as_non_root=True,
            run_as_user=USER_ID,
            run_as_group=USER_ID,
            fs_group=USER_ID,
            seccomp_profile=SeccompProfileArgs(type="RuntimeDefault"),
        ),
        topology_spread_constraints=[
            TopologySpreadConstraintArgs(
                max_skew=1,
                topology_key="kubernetes.io/hostname",
                when_unsatisfiable="DoNotSchedule",
                label_selector=LabelSelectorArgs(match_labels=LABELS),
                # Per revision: else a rolling update finds every node taken by the old pods.
                match_label_keys=["pod-template-hash"],
            )
        ],
        volumes=[_authority(volume, secret) for volume, secret, _ in _authorities(args)] or None,
    )


def _authorities(args: ConnectorArgs) -> Iterator[tuple[str, str, str]]:
    """The volume, the Secret and the file of each certificate authority that the connectors are to trust."""
    if args.ca_secret:
        yield "origin-ca", args.ca_secret, CA_FILE
    secrets = sorted({rule.origin_ca_secret for rule in args.tunnel.rules if rule.origin_ca_secret})
    for number, secret in enumerate(secrets):  # a Secret's name may be longer than a volume's
        yield f"rule-ca-{number}", secret, rule_ca_file(secret)


def _authority(volume: str, secret: str) -> VolumeArgs:
    """The certificate alone: the same Secret may hold a private key."""
    items = [KeyToPathArgs(key="ca.crt", path=CA_FILE.rpartition("/")[2])]
    return VolumeArgs(name=volume, secret=SecretVolumeSourceArgs(secret_name=secret, items=items))


def _container(args: ConnectorArgs, token_secret: pulumi.Input[str]) -> ContainerArgs:
    ready = HTTPGetActionArgs(path="/ready", port="metrics")
    probe = ProbeArgs(http_get=ready, period_seconds=10, timeout_seconds=1, failure_threshold=3)
    resources = args.tunnel.resources.values()
    return ContainerArgs(
        name=NAME,
        image=args.tunnel.image,
        args=["tunnel", "run"],
        env=_environment(args.tunnel, token_secret),
        ports=[ContainerPortArgs(name="metrics", container_port=METRICS_PORT, protocol="TCP")],
        liveness_probe=probe,
        readiness_probe=probe,
        # /ready answers once a connection stands. Where UDP is blocked that takes a first try with QUIC, and liveness
        # alone would kill the pod before its fallback to HTTP/2.
        startup_probe=ProbeArgs(http_get=ready, period_seconds=5, timeout_seconds=1, failure_threshold=36),
        resources=ResourceRequirementsArgs(requests=resources.get("requests"), limits=resources.get("limits")),
        security_context=SecurityContextArgs(
            allow_privilege_escalation=False,
            privileged=False,
            read_only_root_filesystem=True,
            run_as_non_root=True,
            capabilities=CapabilitiesArgs(drop=["ALL"]),
        ),
        volume_mounts=[
            VolumeMountArgs(name=volume, mount_path=file.rpartition("/")[0], read_only=True)
            for volume, _, file in _authorities(args)
        ]
        or None,
    )


def _environment(tunnel: Tunnel, token_secret: pulumi.Input[str]) -> list[EnvVarArgs]:
    """cloudflared's settings by environment: what stands in its arguments can be read in the process list."""
    plain = {
        # The image is what is pinned; a binary that replaces itself would not be, and the file system is read-only.
        "NO_AUTOUPDATE": "true",
        "TUNNEL_METRICS": f"0.0.0.0:{METRICS_PORT}",
        "TUNNEL_TRANSPORT_PROTOCOL": tunnel.transport.value,
        "TUNNEL_POST_QUANTUM": str(tunnel.post_quantum).lower(),
        "TUNNEL_GRACE_PERIOD": f"{tunnel.grace_period_seconds}s",
        "TUNNEL_LOGLEVEL": tunnel.log_level.value,
    }
    token = EnvVarSourceArgs(secret_key_ref=SecretKeySelectorArgs(name=token_secret, key="token"))
    return [
        *(EnvVarArgs(name=key, value=value) for key, value in plain.items()),
        EnvVarArgs(name="TUNNEL_TOKEN", value_from=token),
    ]
