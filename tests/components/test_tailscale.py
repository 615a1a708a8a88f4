"""TailscaleIngress: namespace, credentials, release, custom resources and their order; and the rules around them."""

from typing import Any

import pytest

from components.tailscale.ingress import TailscaleIngress
from tests.support.configs import STAND_IN_SECRETS, merged, settings_with
from tests.support.faults import faults_of
from tests.support.recorder import record
from tests.support.tailscale import EVERYTHING, built, dependencies, enabled, holds_secret, tailscale_arguments

pytestmark = pytest.mark.unit


def test_operator_alone_is_a_namespace_its_credentials_the_release_and_one_proxy_class() -> None:
    types = {name: entry.type for name, entry in built(enabled()).items()}
    assert types == {
        "tailscale": "anton:network:TailscaleIngress",
        "namespace": "kubernetes:core/v1:Namespace",
        "oauth": "kubernetes:core/v1:Secret",
        "release": "kubernetes:helm.sh/v3:Release",
        "proxyclass-default": "kubernetes:tailscale.com/v1alpha1:ProxyClass",
    }, "what was not asked for must not be touched, the tailnet least of all"


def test_namespace_admits_the_privileged_proxies() -> None:
    metadata = built(enabled())["namespace"].inputs["metadata"]
    assert metadata["name"] == "tailscale"
    assert metadata["labels"]["pod-security.kubernetes.io/enforce"] == "privileged", "subnet routers would not start"


@pytest.mark.parametrize("protect", [True, False])
def test_namespace_and_release_are_protected_as_the_stack_says(protect: bool) -> None:
    found = built(merged(enabled(), {"kubernetes": {"protect": protect}}))
    assert {name: found[name].opts.protect for name in ("namespace", "release")} == {
        "namespace": protect,
        "release": protect,
    }, "the devices' keys lie in the namespace, and all custom resources hang on the release's definitions"


def test_credentials_are_a_secret_and_nowhere_else() -> None:
    found = built(EVERYTHING)
    secret = found["oauth"].inputs
    assert (secret["metadata"]["name"], secret["metadata"]["namespace"]) == ("operator-oauth", "tailscale")
    assert holds_secret(secret["stringData"]), "the state would hold them in plain text"
    assert secret["stringData"]["value"] == {
        "client_id": STAND_IN_SECRETS["tailscaleOperatorClientId"],
        "client_secret": STAND_IN_SECRETS["tailscaleOperatorClientSecret"],
    }
    elsewhere = {name: str(entry.inputs) for name, entry in found.items() if name != "oauth"}
    for key in ("tailscaleOperatorClientId", "tailscaleOperatorClientSecret"):
        assert not [name for name, text in elsewhere.items() if STAND_IN_SECRETS[key] in text]


def test_release_has_no_value_for_the_credentials() -> None:
    release = built(enabled())["release"]
    assert "oauth" not in release.inputs["values"], "Helm would keep them in its own record"
    assert "oauth" in dependencies(release), "the operator's pod waits for a Secret that the release does not bring"


def test_devices_keep_their_names_because_nothing_that_they_follow_from_is_made_up() -> None:
    release = built(enabled())["release"].inputs
    assert (release["name"], release["namespace"]) == ("tailscale-operator", "tailscale")
    assert not {"fullnameOverride", "nameOverride"} & release["values"].keys()


@pytest.mark.parametrize(("mode", "value"), [("off", "false"), ("auth", "true"), ("noauth", "noauth")])
def test_api_server_proxy_is_text_to_the_chart(mode: str, value: str) -> None:
    values = built(enabled(apiServerProxy=mode))["release"].inputs["values"]
    assert values["apiServerProxyConfig"] == {"mode": value}


def test_custom_resources_come_after_the_release_that_defines_them() -> None:
    found = built(EVERYTHING)
    custom = {name: entry for name, entry in found.items() if entry.type.startswith("kubernetes:tailscale.com/")}
    assert custom.keys() == {
        "proxyclass-default",
        "proxyclass-proxygroup-ingress",
        "proxyclass-connector-lan",
        "proxygroup-ingress",
        "connector-lan",
    }
    for name, entry in custom.items():
        assert "release" in dependencies(entry), f"{name} would not be known, and nobody would clean up behind it"


def test_policy_comes_before_the_proxies_and_the_route_before_the_names_behind_it() -> None:
    found = built(EVERYTHING)
    assert "tailnet" in dependencies(found["release"]), "a route that nobody may approve yet waits for a person"
    assert "connector-lan" in dependencies(found["dns-split"]), "devices would ask an address that they can't reach"
    for name in ("tailnet-settings", "tailnet-key-nodes"):
        assert "tailnet-policy" in dependencies(found[name]), "a key can't have a tag that does not exist yet"


def test_every_resource_is_a_child_of_the_component_that_owns_it() -> None:
    for name, entry in built(EVERYTHING).items():
        owner = entry.opts.parent
        if name != "tailscale":
            assert owner is not None, f"{name} is an orphan"
            expected = name.partition("-")[0] if name.startswith(("tailnet-", "dns-")) else "tailscale"
            assert owner._name.rpartition("-")[2] == expected, f"{name} hangs on {owner._name}"


def test_connector_advertises_two_addresses_and_no_network() -> None:
    spec = built(enabled(connector={}))["connector-lan"].inputs["spec"]
    assert spec["subnetRouter"] == {"advertiseRoutes": ["192.168.1.102/32", "192.168.1.103/32"]}
    assert spec["exitNode"] is False, "the cluster's uplink is nobody's way to the internet"
    assert spec["tags"] == ["tag:k8s"]


def test_connector_advertises_the_service_network_and_further_routes_when_asked() -> None:
    connector = {"addresses": ["internal"], "routes": ["192.168.50.0/24"], "serviceNetwork": True}
    spec = built(enabled(connector=connector))["connector-lan"].inputs["spec"]
    assert spec["subnetRouter"]["advertiseRoutes"] == ["192.168.1.103/32", "192.168.50.0/24", "10.96.0.0/12"]


def test_connector_keeps_its_devices_names_when_it_is_scaled() -> None:
    one, two = (built(enabled(connector={"replicas": count}))["connector-lan"].inputs["spec"] for count in (1, 2))
    assert {key: value for key, value in one.items() if two[key] != value} == {"replicas": 1}
    assert "hostname" not in one, "the definition takes it for a single replica only"


def test_node_network_is_advertised_only_when_said_twice() -> None:
    connector: dict[str, Any] = {"routes": ["192.168.1.0/24"]}
    assert "whole node subnet" in faults_of(enabled(connector=connector))["tailscale.connector.routes"]
    spec = built(enabled(connector=connector | {"exposeNodes": True}))["connector-lan"].inputs["spec"]
    assert "192.168.1.0/24" in spec["subnetRouter"]["advertiseRoutes"]


def test_proxy_group_is_for_ingress_and_spread_over_the_nodes() -> None:
    found = built(enabled(proxyGroup={"replicas": 3}))
    spec = found["proxygroup-ingress"].inputs["spec"]
    assert (spec["type"], spec["replicas"], spec["proxyClass"]) == ("ingress", 3, "proxygroup-ingress")
    pod = found["proxyclass-proxygroup-ingress"].inputs["spec"]["statefulSet"]["pod"]
    (constraint,) = pod["topologySpreadConstraints"]
    assert constraint["topologyKey"] == "kubernetes.io/hostname"
    assert constraint["labelSelector"]["matchLabels"]["tailscale.com/parent-resource"] == "ingress"


def test_proxies_have_metrics_a_monitor_limits_and_priority() -> None:
    spec = built(enabled())["proxyclass-default"].inputs["spec"]
    assert spec["metrics"] == {
        "enable": True,
        "serviceMonitor": {"enable": True, "labels": {"release": "kube-prometheus-stack"}},
    }
    pod = spec["statefulSet"]["pod"]
    assert pod["priorityClassName"] == "system-cluster-critical"
    assert pod["tailscaleContainer"]["resources"]["limits"] == {"memory": "256Mi"}
    assert pod["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
    assert "securityContext" not in pod["tailscaleContainer"], "it would take the network device from Connectors"


def test_without_monitoring_proxies_keep_their_metrics_and_lose_the_monitor() -> None:
    spec = built(merged(enabled(), {"monitoring": {"enabled": False}}))["proxyclass-default"].inputs["spec"]
    assert spec["metrics"] == {"enable": True}, "the operator would refuse the class without the monitors' definition"


def test_outputs_say_what_ingress_objects_come_after() -> None:
    settings = settings_with(EVERYTHING)
    seen: dict[str, Any] = {}

    def build() -> None:
        component = TailscaleIngress("tailscale", tailscale_arguments(settings))
        seen["ready"] = {type(entry).__name__ for entry in component.ready}
        component.ingress_class.apply(lambda value: seen.update(ingress_class=value))
        component.namespace.apply(lambda value: seen.update(namespace=value))

    record(build)
    assert seen == {
        "ready": {"Release", "CustomResource", "TailnetDns"},
        "ingress_class": "tailscale",
        "namespace": "tailscale",
    }


def test_priority_and_one_amount_of_resources_can_be_changed() -> None:
    change = enabled(priorityClass="high", resources={"limits": {"memory": "1Gi"}})
    operator = built(change)["release"].inputs["values"]["operatorConfig"]
    assert operator["priorityClassName"] == "high"
    assert operator["resources"] == {"requests": {"cpu": "20m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}


REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    # what is wrong, the change, the key it is reported under, a part of the reason
    (
        "an address that has no name",
        enabled(connector={"addresses": ["printer"]}),
        "tailscale.connector.addresses",
        "no entry in loadBalancer.addresses",
    ),
    (
        "a router without routes",
        enabled(connector={"addresses": []}),
        "tailscale.connector.addresses",
        "nothing is advertised",
    ),
    (
        "the tailnet's own addresses",
        enabled(connector={"routes": ["100.100.0.0/16"]}),
        "tailscale.connector.routes",
        "the tailnet's own devices",
    ),
    ("everything", enabled(connector={"routes": ["0.0.0.0/0"]}), "tailscale.connector.routes", "whole node subnet"),
    (
        "a node by its own address",
        enabled(connector={"routes": ["192.168.1.98/32"]}),
        "tailscale.connector.routes",
        "192.168.1.98 (node k8s-1)",
    ),
    (
        "half of the node network",
        enabled(connector={"routes": ["192.168.1.0/25"]}),
        "tailscale.connector.routes",
        "192.168.1.1 (the gateway)",
    ),
    (
        "one tag for operator and proxies",
        enabled(proxyTags=["tag:k8s-operator"]),
        "tailscale.proxyTags",
        "could reach the operator",
    ),
    (
        "a tag without its prefix",
        enabled(proxyTags=["tag:k8s", "k8s"]),
        "tailscale.proxyTags[1]",
        "must be tag: and a name",
    ),
    (
        "a request above its limit",
        enabled(proxyResources={"requests": {"memory": "1Gi"}}),
        "tailscale.proxyResources.requests.memory",
        "limit of 256Mi",
    ),
    (
        "an application called like the operator",
        merged(
            enabled(),
            {
                "applications": {
                    "tailscale-operator": {"ingressClass": "tailscale", "namespace": "production", "port": 80}
                }
            },
        ),
        "applications.tailscale-operator",
        "would be called tailscale-operator-1",
    ),
    (
        "an application called like a subnet router",
        merged(
            enabled(connector={}),
            {"applications": {"anton-lan-0": {"ingressClass": "tailscale", "namespace": "production", "port": 80}}},
        ),
        "applications.anton-lan-0",
        "the subnet router",
    ),
    (
        "an application called like a node",
        merged(
            enabled(),
            {"applications": {"k8s-1": {"ingressClass": "tailscale", "namespace": "production", "port": 80}}},
        ),
        "applications.k8s-1",
        "the node k8s-1",
    ),
    ("an operator called like a node", enabled(hostname="k8s-1"), "tailscale.hostname", "the node k8s-1"),
    (
        "Cilium rewriting connections in the proxies",
        merged(enabled(), {"cilium": {"socketLbHostNamespaceOnly": False}}),
        "cilium.socketLbHostNamespaceOnly",
        "past their forwarding",
    ),
]


@pytest.mark.parametrize(("change", "key", "reason"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_tailscale_setting_is_refused_with_its_reason(change: dict[str, Any], key: str, reason: str) -> None:
    found = faults_of(change)
    assert found.keys() == {key}, "one fault, one message"
    assert reason in found[key]


def test_rules_do_not_judge_a_layer_that_is_off() -> None:
    off = {"enabled": False, "connector": {"addresses": ["printer"], "routes": ["192.168.1.0/24"]}, "hostname": "k8s-1"}
    assert settings_with({"tailscale": off, "cilium": {"socketLbHostNamespaceOnly": False}}).tailscale.connector


def test_cilium_may_rewrite_nothing_where_kube_proxy_stays() -> None:
    cilium = {
        "kubeProxyReplacement": False,
        "socketLbHostNamespaceOnly": False,
        "masquerade": "iptables",
        "hostLegacyRouting": True,
        "localRedirectPolicies": False,
        "loadBalancing": {"mode": "snat", "algorithm": "random"},
    }
    lan = {"pools": None, "addresses": None, "l2": {"enabled": False}}
    classes = {"internal": {"serviceType": "ClusterIP"}}
    change = {"cilium": cilium, "loadBalancer": lan, "ingress": {"classes": classes}}
    assert settings_with(merged(enabled(), change)).tailscale.enabled, "without a replacement there is nothing to set"
