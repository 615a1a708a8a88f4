"""The connectors: cloudflared pods that stay up, give nothing away, and need next to nothing."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pulumi
import pytest

from components.cloudflare.connector import ConnectorArgs, TunnelConnector
from settings.cloudflare.tunnel import Tunnel
from settings.rules.cloudflare import replicas
from tests.support.configs import merged
from tests.support.edge import TOKEN, built, edge_settings, reasons, recorded
from tests.support.pod_security import restricted_violations
from tests.support.recorder import Registration

pytestmark = pytest.mark.unit

INTERNAL_CA = {
    "certificates": {"enabled": True},
    "ingress": {"classes": {"external": {"certificateIssuer": "internal-ca", "defaultCertificate": None}}},
}
"""The class behind the tunnel with a certificate of the internal authority."""


def tunnel(**values: Any) -> dict[str, Any]:
    return {"cloudflare": {"tunnel": values}}


def deployment(change: dict[str, Any] | None = None) -> dict[str, Any]:
    return built(change)["cloudflare-connector-deployment"].inputs


def pod(change: dict[str, Any] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = deployment(change)["spec"]["template"]["spec"]
    return found


def container(change: dict[str, Any] | None = None) -> dict[str, Any]:
    (found,) = pod(change)["containers"]
    assert isinstance(found, dict)
    return found


def environment(change: dict[str, Any] | None = None) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container(change)["env"]}


def ingresses(change: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = built(change)["cloudflare-tunnel-config"].inputs["config"]["ingresses"]
    return found


# Pods


def test_spec_connectors_are_two_and_spread_one_a_node() -> None:
    spec = deployment()["spec"]
    assert spec["replicas"] == 2
    (constraint,) = spec["template"]["spec"]["topologySpreadConstraints"]
    assert (constraint["maxSkew"], constraint["topologyKey"]) == (1, "kubernetes.io/hostname")
    assert constraint["whenUnsatisfiable"] == "DoNotSchedule"
    assert constraint["labelSelector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    assert constraint["matchLabelKeys"] == ["pod-template-hash"], "a rolling update would find every node taken"


def test_update_never_leaves_fewer_connectors() -> None:
    assert deployment()["spec"]["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }


def test_connectors_are_where_and_what_the_other_layers_look_for() -> None:
    inputs = deployment()
    assert (inputs["metadata"]["namespace"], inputs["metadata"]["name"]) == ("network", "cloudflared")
    labels = inputs["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/name"] == "cloudflared", "policies and monitors select by it"
    assert inputs["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_node_drain_leaves_a_connector() -> None:
    budget = built()["cloudflare-connector-budget"].inputs["spec"]
    assert budget["minAvailable"] == 1
    assert budget["selector"]["matchLabels"] == deployment()["spec"]["selector"]["matchLabels"]


def test_connectors_are_evicted_last() -> None:
    assert pod()["priorityClassName"] == "system-cluster-critical"


def test_spec_connector_meets_the_restricted_pod_security_level() -> None:
    assert restricted_violations(pod()) == []
    assert restricted_violations(pod(INTERNAL_CA)) == []


@pytest.mark.parametrize(
    ("place", "value", "violation"),
    [
        (("hostNetwork",), True, "hostNetwork is on"),
        (("hostPID",), True, "hostPID is on"),
        (("hostIPC",), True, "hostIPC is on"),
        (("volumes",), [{"name": "v", "hostPath": {"path": "/"}}], "volume type hostPath"),
        (("securityContext", "sysctls"), [{"name": "kernel.msgmax", "value": "1"}], "sysctl kernel.msgmax"),
        (("securityContext", "runAsUser"), 0, "the pod runs as root"),
        (("securityContext", "seccompProfile"), {"type": "Unconfined"}, "no seccomp profile"),
        (("securityContext", "appArmorProfile"), {"type": "Unconfined"}, "AppArmor is off"),
        (("securityContext", "seLinuxOptions"), {"type": "spc_t"}, "SELinux options"),
        (("containers", 0, "securityContext", "privileged"), True, "privileged"),
        (("containers", 0, "securityContext", "allowPrivilegeEscalation"), True, "privilege escalation is allowed"),
        (("containers", 0, "securityContext", "capabilities"), {}, "capabilities are kept"),
        (
            ("containers", 0, "securityContext", "capabilities"),
            {"drop": ["ALL"], "add": ["NET_RAW"]},
            "capability NET_RAW",
        ),
        (("containers", 0, "securityContext", "runAsNonRoot"), False, "may run as root"),
        (("containers", 0, "securityContext", "runAsUser"), 0, "runs as root"),
        (("containers", 0, "securityContext", "procMount"), "Unmasked", "unmasked /proc"),
        (("containers", 0, "ports"), [{"containerPort": 1, "hostPort": 1}], "host port 1"),
    ],
)
def test_check_of_pod_security_catches_each_rule(place: tuple[str | int, ...], value: Any, violation: str) -> None:
    broken: Any = deepcopy(pod())
    inner = broken
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    assert violation in restricted_violations(broken)


def test_connector_writes_nothing_and_is_no_user_of_the_cluster() -> None:
    assert container()["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod()["automountServiceAccountToken"] is False
    assert pod()["securityContext"]["runAsUser"] == 65534


def test_readiness_and_liveness_ask_whether_a_connection_stands() -> None:
    found = container()
    for probe in ("readinessProbe", "livenessProbe"):
        assert found[probe] == {
            "httpGet": {"path": "/ready", "port": "metrics"},
            "periodSeconds": 10,
            "timeoutSeconds": 1,
            "failureThreshold": 3,
        }


def test_first_connection_may_take_long_enough_to_fall_back_to_http2() -> None:
    probe = container()["startupProbe"]
    assert probe["httpGet"]["path"] == "/ready"
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 120, "liveness would kill it before the fallback"


def test_environment_is_complete_and_nothing_secret_is_in_it() -> None:
    assert environment() == {
        "NO_AUTOUPDATE": "true",
        "TUNNEL_METRICS": "0.0.0.0:8080",
        "TUNNEL_TRANSPORT_PROTOCOL": "auto",
        "TUNNEL_POST_QUANTUM": "false",
        "TUNNEL_GRACE_PERIOD": "30s",
        "TUNNEL_LOGLEVEL": "info",
        "TUNNEL_TOKEN": {"secretKeyRef": {"name": "cloudflare-connector-token-1a2b3c", "key": "token"}},
    }
    assert container()["args"] == ["tunnel", "run"], "what stands in arguments can be read in the process list"


@pytest.mark.parametrize("transport", ["auto", "quic", "http2"])
def test_transport_falls_back_to_http2_unless_one_is_chosen(transport: str) -> None:
    assert environment(tunnel(transport=transport))["TUNNEL_TRANSPORT_PROTOCOL"] == transport


@pytest.mark.parametrize("transport", ["auto", "http2"])
def test_post_quantum_needs_quic(transport: str) -> None:
    found = reasons(tunnel(transport=transport, postQuantum=True))
    assert "no fallback to HTTP/2" in found["cloudflare.tunnel.postQuantum"]
    assert environment(tunnel(transport="quic", postQuantum=True))["TUNNEL_POST_QUANTUM"] == "true"


def test_stopping_connector_finishes_its_requests_before_it_is_killed() -> None:
    change = tunnel(gracePeriodSeconds=60)
    assert environment(change)["TUNNEL_GRACE_PERIOD"] == "60s"
    assert pod(change)["terminationGracePeriodSeconds"] > 60


def test_new_token_is_a_new_secret_so_that_the_connectors_restart() -> None:
    """The provider replaces an immutable Secret; without a name of its own the replacement has another name."""
    secret = built()["cloudflare-connector-token"].inputs
    assert secret["immutable"] is True
    assert "name" not in secret["metadata"]
    assert environment()["TUNNEL_TOKEN"]["secretKeyRef"]["name"].startswith("cloudflare-connector-token-")


def test_metrics_are_served_on_8080() -> None:
    service = built()["cloudflare-connector-metrics"].inputs
    (port,) = service["spec"]["ports"]
    assert (port["name"], port["port"]) == ("metrics", 8080)
    assert service["spec"]["selector"] == deployment()["spec"]["template"]["metadata"]["labels"]
    assert {entry["name"]: entry["containerPort"] for entry in container()["ports"]}[port["targetPort"]] == 8080


def test_resources() -> None:
    assert container()["resources"] == {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}


def test_image_is_pinned() -> None:
    assert container()["image"] == "docker.io/cloudflare/cloudflared:2026.7.3"
    digest = f"registry.example.com/cloudflared:2026.7.3@sha256:{'0' * 64}"
    assert container(tunnel(image=digest))["image"] == digest


@pytest.mark.parametrize(
    ("change", "key", "reason"),
    [
        ({"image": "cloudflare/cloudflared:latest"}, "image", "whatever was pushed last"),
        ({"image": f"cloudflare/cloudflared:latest@sha256:{'0' * 64}"}, "image", "whatever was pushed last"),
        ({"image": "cloudflare/cloudflared"}, "image", "registry/repository:tag"),
        ({"replicas": 1}, "replicas", "gone with the node of its one connector"),
        ({"gracePeriodSeconds": 181}, "gracePeriodSeconds", "180 or less"),
        ({"transport": "tcp"}, "transport", "must be"),
        ({"hostname": "example.com"}, "hostname", "is not one label under"),
        ({"hostname": "a.b.example.com"}, "hostname", "is not one label under"),
        ({"ingressClass": "public"}, "ingressClass", "is no class of ingress.classes"),
    ],
)
def test_value_that_can_not_work_is_refused_with_its_reason(change: dict[str, Any], key: str, reason: str) -> None:
    assert reason in reasons(tunnel(**change))[f"cloudflare.tunnel.{key}"]


def test_connectors_wait_for_the_ingress_rules_and_names_for_the_connectors() -> None:
    def waits_for(name: str) -> list[str]:
        found = built()[name].opts.depends_on
        assert isinstance(found, list)
        return [type(each).__name__ for each in found]

    assert waits_for("cloudflare-connector") == ["CloudflareTunnel"], "everything would be answered with an error"
    assert waits_for("cloudflare-dns") == ["TunnelConnector", "ZoneSecurity", "AccessPolicies"], (
        "visitors would see Cloudflare's error 1033, or what Access should keep from them"
    )


def test_connector_component_needs_no_name_but_its_own() -> None:
    def build() -> object:
        args = ConnectorArgs(tunnel=Tunnel(), namespace="edge", token=pulumi.Output.secret(TOKEN), ca_secret=None)
        return TunnelConnector("c", args)

    found, _ = recorded(build)
    registered: list[Registration] = [each for each in found.values() if each.inputs]
    assert {each.inputs["metadata"]["namespace"] for each in registered} == {"edge"}


# The origin's certificate


def test_public_certificate_needs_no_authority_of_its_own() -> None:
    assert "volumes" not in pod()
    assert all("caPool" not in rule.get("originRequest", {}) for rule in ingresses())


def test_internal_authority_is_mounted_from_the_controllers_own_secret_without_its_key() -> None:
    (volume,) = pod(INTERNAL_CA)["volumes"]
    assert volume["secret"] == {"secretName": "external-tls", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    (mount,) = container(INTERNAL_CA)["volumeMounts"]
    assert mount["readOnly"] is True
    paths = {rule["originRequest"]["caPool"] for rule in ingresses(INTERNAL_CA)[:-1]}
    assert paths == {f"{mount['mountPath']}/ca.crt"}, "cloudflared would not start to serve"


def test_authority_of_an_origin_can_be_named() -> None:
    (volume,) = pod(tunnel(originCaSecret="origin-ca"))["volumes"]
    assert volume["secret"]["secretName"] == "origin-ca"


def test_more_connectors_than_nodes_would_stay_pending() -> None:
    settings = edge_settings(tunnel(replicas=3))
    assert not list(replicas(settings))
    more = settings.cloudflare.tunnel.model_copy(update={"replicas": 4})
    edge = settings.cloudflare.model_copy(update={"tunnel": more})
    (problem,) = replicas(replace(settings, cloudflare=edge))
    assert (problem.key, problem.example) == ("cloudflare.tunnel.replicas", 3)
    assert "there are 3 nodes" in problem.reason


def test_single_node_has_a_single_connector_that_lets_it_be_drained() -> None:
    def single(replicas: int) -> dict[str, Any]:
        change = {
            "physical": {"nodes": {"k8s-2": None, "k8s-3": None}},
            "cilium": {"operator": {"replicas": 1}},
            "ingress": {"classes": {name: {"replicas": 1} for name in ("external", "internal")}},
            "certificates": {"replicas": 1},
        }
        return merged(change, tunnel(replicas=replicas))

    assert reasons(single(2)) == {
        "cloudflare.tunnel.replicas": "one pod a node, and there is 1 node: the rest would stay pending"
    }
    assert "cloudflare-connector-budget" not in built(single(1))
