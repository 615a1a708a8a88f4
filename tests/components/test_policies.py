"""NetworkPolicies: what is registered, in which order, what is refused. test_reachability.py has its meaning."""

import tomllib
from typing import Any

import pulumi
import pytest

from components.policies.namespaces import ApplicationNamespaces, ApplicationNamespacesArgs
from components.policies.network import NetworkPolicies, NetworkPoliciesArgs
from settings.charts.model import CHART_VERSIONS
from settings.stack import Settings
from tests.support.configs import PROJECT, merged, settings_with
from tests.support.edge import EDGE
from tests.support.faults import faults_of
from tests.support.recorder import Registration, record

pytestmark = pytest.mark.unit

FLOW = {"source": {"labels": {"app": "frontend"}}, "destination": {"labels": {"app": "backend"}}, "port": 8080}
PRODUCTION = {"create": True, "flows": {"frontend-to-backend": FLOW}}


def policies(production: dict[str, Any] | None = None, **others: Any) -> dict[str, Any]:
    """Stack settings with the namespace `production` changed or replaced, and further keys of the group."""
    namespaces = {"production": PRODUCTION if production is None else production}
    return {"networkPolicies": {"enabled": True, "namespaces": namespaces, **others}}


def built(settings: Settings) -> dict[str, Registration]:
    """What the two components of this layer register."""

    def build() -> None:
        ApplicationNamespaces("namespaces", ApplicationNamespacesArgs.of(settings))
        NetworkPolicies("policies", NetworkPoliciesArgs(settings=settings))

    return {entry.name: entry for entry in record(build)}


def dependencies(entry: Registration) -> list[pulumi.Resource]:
    assert isinstance(entry.opts.depends_on, list)
    return entry.opts.depends_on


def test_spec_default_deny_all_is_the_one_of_the_specification() -> None:
    policy = built(settings_with(policies()))["policies-production-default-deny-all"]
    assert policy.type == "kubernetes:networking.k8s.io/v1:NetworkPolicy"
    assert policy.inputs["metadata"] == {"name": "default-deny-all", "namespace": "production"}
    assert policy.inputs["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_spec_frontend_to_backend_is_the_one_of_the_specification() -> None:
    policy = built(settings_with(policies()))["policies-production-allow-frontend-to-backend"]
    assert policy.type == "kubernetes:networking.k8s.io/v1:NetworkPolicy"
    assert policy.inputs["metadata"] == {"name": "allow-frontend-to-backend", "namespace": "production"}
    assert policy.inputs["spec"] == {
        "podSelector": {"matchLabels": {"app": "frontend"}},
        "policyTypes": ["Egress"],
        "egress": [
            {
                "to": [{"podSelector": {"matchLabels": {"app": "backend"}}}],
                "ports": [{"protocol": "TCP", "port": 8080}],
            }
        ],
    }


def test_backend_lets_the_frontend_in_as_well() -> None:
    """The specification gives the way out only; under default deny the way in must be there too."""
    spec = built(settings_with(policies()))["policies-production-accept-frontend-to-backend"].inputs["spec"]
    assert spec["podSelector"] == {"matchLabels": {"app": "backend"}}
    assert spec["policyTypes"] == ["Ingress"]
    assert spec["ingress"][0]["from"] == [{"podSelector": {"matchLabels": {"app": "frontend"}}}]


def test_controller_is_selected_by_namespace_and_pod_in_one_peer() -> None:
    """As two peers they would let in all of the namespace, and pods with such labels from anywhere."""
    application = {"web": {"ingressClass": "internal", "namespace": "production", "port": 80}}
    spec = built(settings_with(policies() | {"applications": application}))[
        "policies-production-accept-ingress-web"
    ].inputs["spec"]
    (peer,) = spec["ingress"][0]["from"]
    assert peer["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "network"}}
    assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/instance"] == "internal-ingress-nginx"


def test_every_deny_comes_after_every_allow_and_goes_before_it() -> None:
    namespaces = {"production": PRODUCTION, "staging": {"create": True}}
    settings = settings_with({"networkPolicies": {"enabled": True, "namespaces": namespaces}})
    resources = built(settings)
    denies = [entry for name, entry in resources.items() if name.endswith("default-deny-all")]
    others = {name for name, entry in resources.items() if entry.type.endswith("Policy") and entry not in denies}
    assert len(denies) == 2 and len(others) == 6
    for deny in denies:
        assert len(dependencies(deny)) == len(others), "an allow in any namespace may be what a flow needs"


def test_created_namespace_has_its_pod_security_level_and_is_protected() -> None:
    namespace = built(settings_with(policies({"create": True, "podSecurity": "restricted"})))["namespaces-production"]
    assert namespace.inputs["metadata"] == {
        "name": "production",
        "labels": {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")},
    }
    assert namespace.opts.protect is True


def test_pod_security_is_baseline_unless_chosen_and_reports_what_restricted_would_refuse() -> None:
    labels = built(settings_with(policies()))["namespaces-production"].inputs["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "baseline"
    assert labels["pod-security.kubernetes.io/audit"] == labels["pod-security.kubernetes.io/warn"] == "restricted"


def test_existing_namespace_is_not_touched() -> None:
    resources = built(settings_with(policies({"flows": {"frontend-to-backend": FLOW}})))
    assert not [entry for entry in resources.values() if entry.type.endswith(":Namespace")]
    assert dependencies(resources["policies-production-allow-dns"]) == []


def test_namespace_without_default_deny_has_no_policy_at_all() -> None:
    """An allowing NetworkPolicy alone would cut its pods off from everything else."""
    resources = built(settings_with(policies({"create": True, "defaultDeny": False})))
    assert not [name for name, entry in resources.items() if entry.type.endswith("Policy")]


def test_only_what_native_policies_cant_say_is_of_ciliums_kind() -> None:
    rules = [{"method": "GET", "path": "/api/v1/.*"}, {"method": "POST", "headers": {"Content-Type": "text/plain"}}]
    production = {
        "allowSameNamespace": False,
        "flows": {"plain": FLOW, "narrow": FLOW | {"port": 80, "http": rules}},
        "egress": {
            "nas": {"source": {"labels": {"app": "backend"}}, "to": ["192.168.1.20/32"], "ports": [2049]},
            "payments": {
                "source": {"labels": {"app": "backend"}},
                "to": ["api.example.com", "*.example.org", "192.168.1.21/32"],
            },
        },
        "metrics": {"backend": {"labels": {"app": "backend"}, "port": 9090}},
        "apiServer": {"operator": {"app": "operator"}},
    }
    resources = built(settings_with(policies(production)))
    cilium = {name.removeprefix("policies-production-") for name, entry in resources.items() if "cilium" in entry.type}
    assert cilium == {
        "accept-narrow",
        "allow-api-server-operator",
        "allow-dns",
        "allow-egress-payments-cilium",
        "allow-probes",
    }
    narrow = resources["policies-production-accept-narrow"].inputs["spec"]["ingress"][0]["toPorts"][0]
    assert narrow["ports"] == [{"port": "80", "protocol": "TCP"}], "Cilium wants the port as text"
    assert narrow["rules"] == {
        "http": [
            {"method": "GET", "path": "/api/v1/.*"},
            {"method": "POST", "headers": ["Content-Type: text/plain"]},
        ]
    }
    payments = resources["policies-production-allow-egress-payments-cilium"].inputs["spec"]["egress"][0]
    assert payments["toFQDNs"] == [{"matchName": "api.example.com"}, {"matchPattern": "*.example.org"}]
    dns = resources["policies-production-allow-dns"].inputs["spec"]["egress"][0]["toPorts"][0]
    assert dns["rules"] == {"dns": [{"matchPattern": "*"}]}, "Cilium learns addresses only from DNS that it proxies"


def test_dns_stays_a_native_policy_where_no_domain_is_named() -> None:
    policy = built(settings_with(policies()))["policies-production-allow-dns"]
    assert policy.type.endswith("v1:NetworkPolicy")
    assert {(port["protocol"], port["port"]) for port in policy.inputs["spec"]["egress"][0]["ports"]} == {
        ("UDP", 53),
        ("TCP", 53),
    }


def test_infrastructure_has_no_policy_unless_asked() -> None:
    namespaces = {
        entry.inputs["metadata"]["namespace"]
        for entry in built(settings_with(policies())).values()
        if entry.type.endswith("Policy")
    }
    assert namespaces == {"production"}


WARNED = FLOW | {"http": [{"method": "GET"}]}


@pytest.mark.parametrize(
    ("tailscale", "tried", "flow", "warnings"),
    [(True, False, WARNED, 1), (True, True, WARNED, 0), (False, False, WARNED, 0), (True, False, FLOW, 0)],
)
def test_layer_7_beside_tailscale_warns_until_it_was_tried(
    tailscale: bool, tried: bool, flow: dict[str, Any], warnings: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(pulumi, "warn", lambda message, *_: said.append(message))
    change = policies({"flows": {"web": flow}}, layer7Tried=tried) | {"tailscale": {"enabled": tailscale}}
    built(settings_with(change))
    assert len(said) == warnings, said


def changed(**values: Any) -> dict[str, Any]:
    return policies({"create": True, **values})


def flow(**values: Any) -> dict[str, Any]:
    return changed(flows={"web": FLOW | values})


def egress(**values: Any) -> dict[str, Any]:
    return changed(egress={"out": {"source": {"labels": {"app": "web"}}, **values}})


HTTP = [{"method": "GET"}]
TUNNEL_RULE = {"host": "a.example.com", "service": "http://a.production.svc.cluster.local:80"}
PREFIX = "networkPolicies.namespaces.production"

BAD_VALUES: list[tuple[str, dict[str, Any], str, str]] = [
    # what is wrong, the change, the key it is reported under, a part of the reason
    (
        "system namespace",
        {"networkPolicies": {"namespaces": {"kube-system": {}}}},
        "networkPolicies.namespaces.kube-system",
        "cut the cluster off",
    ),
    (
        "default namespace",
        {"networkPolicies": {"namespaces": {"default": {}}}},
        "networkPolicies.namespaces.default",
        "by accident",
    ),
    (
        "namespace of the controllers",
        {"networkPolicies": {"namespaces": {"network": {}}}},
        "networkPolicies.namespaces.network",
        "infrastructure.defaultDeny",
    ),
    (
        "namespace of Prometheus",
        {"networkPolicies": {"enabled": True, "namespaces": {"monitoring": {}}}},
        "networkPolicies.namespaces.monitoring.defaultDeny",
        "scraping",
    ),
    ("port 0", flow(port=0), f"{PREFIX}.flows.web.port", "1 or more"),
    ("port above 65535", flow(port=65536), f"{PREFIX}.flows.web.port", "less"),
    ("protocol of no port", flow(protocol="ICMP"), f"{PREFIX}.flows.web.protocol", "TCP"),
    ("no labels", flow(source={"labels": {}}), f"{PREFIX}.flows.web.source.labels", "empty"),
    ("HTTP over UDP", flow(protocol="UDP", http=HTTP), f"{PREFIX}.flows.web.protocol", "TCP"),
    ("path that is no expression", flow(http=[{"path": "/(["}]), f"{PREFIX}.flows.web.http[0].path", "expression"),
    ("path without its slash", flow(http=[{"path": "api"}]), f"{PREFIX}.flows.web.http[0].path", "start with a slash"),
    ("look-ahead", flow(http=[{"path": "/(?!admin).*"}]), f"{PREFIX}.flows.web.http[0].path", "RE2"),
    (
        "header with a line break",
        flow(http=[{"headers": {"X-Key": "a\nb"}}]),
        f"{PREFIX}.flows.web.http[0].headers.X-Key",
        "control characters",
    ),
    (
        "one flow twice",
        changed(flows={"one": FLOW, "two": FLOW}),
        f"{PREFIX}.flows.two",
        f"{PREFIX}.flows.one does",
    ),
    (
        "flow between strangers",
        flow(source={"labels": {"app": "a"}, "namespace": "x"}, destination={"labels": {"app": "b"}, "namespace": "y"}),
        f"{PREFIX}.flows.web",
        "wrong place",
    ),
    (
        "HTTP rules that nobody enforces",
        flow(destination={"labels": {"app": "backend"}, "namespace": "elsewhere"}, http=HTTP),
        f"{PREFIX}.flows.web.http",
        "elsewhere is under no default deny",
    ),
    (
        "HTTP rules beside an open namespace",
        changed(flows={"web": FLOW | {"http": HTTP}}, allowSameNamespace=True),
        PREFIX,
        "allow-same-namespace lets the same pods through",
    ),
    (
        "HTTP rules beside a wider flow",
        changed(flows={"web": FLOW | {"http": HTTP}, "tier": FLOW | {"source": {"labels": {"tier": "web"}}}}),
        PREFIX,
        "accept-tier lets the same pods through",
    ),
    (
        "HTTP rules without the proxy",
        flow(http=HTTP) | {"cilium": {"l7Proxy": False}},
        f"{PREFIX}.flows.web.http",
        "cilium.l7Proxy is false",
    ),
    (
        "domains without the proxy",
        egress(to=["api.example.com"]) | {"cilium": {"l7Proxy": False}},
        f"{PREFIX}.egress.out.to",
        "cilium.l7Proxy is false",
    ),
    ("egress to nowhere", egress(to=[]), f"{PREFIX}.egress.out.to", "empty"),
    ("domain with a scheme", egress(to=["https://x.org"]), f"{PREFIX}.egress.out.to[0]", "no domain"),
    ("domain in upper case", egress(to=["Example.org"]), f"{PREFIX}.egress.out.to[0]", "lower case"),
    ("address without its prefix", egress(to=["192.168.1.20"]), f"{PREFIX}.egress.out.to[0]", "192.168.1.20/32"),
    (
        "network with host bits",
        egress(to=["192.168.1.20/24"]),
        f"{PREFIX}.egress.out.to[0]",
        "written 192.168.1.0/24, or with /32",
    ),
    ("stars within a name", egress(to=["a**.x.org"]), f"{PREFIX}.egress.out.to[0]", "no more than *"),
    ("stars after the start", egress(to=["a.**.org"]), f"{PREFIX}.egress.out.to[0]", "no more than *"),
    (
        "labels without their key",
        egress(source={"app": "web"}, to=["anywhere"]),
        f"{PREFIX}.egress.out.source",
        "below the key labels",
    ),
    ("flow without that key", flow(source={"app": "web"}), f"{PREFIX}.flows.web.source", "below the key labels"),
    ("every address", egress(to=["0.0.0.0/0"]), f"{PREFIX}.egress.out.to[0]", "anywhere"),
    ("address of a pod", egress(to=["10.244.1.0/24"]), f"{PREFIX}.egress.out.to", "never matches a pod"),
    ("address of a node", egress(to=["192.168.1.98/32"]), f"{PREFIX}.egress.out.to", "is node k8s-1"),
    (
        "label that Cilium does not see",
        flow(source={"labels": {"pod-template-hash": "abc"}}),
        f"{PREFIX}.flows.web.source.labels.pod-template-hash",
        "never match",
    ),
    (
        "label of an application that Cilium does not see",
        changed()
        | {
            "applications": {
                "web": {
                    "ingressClass": "internal",
                    "namespace": "production",
                    "port": 80,
                    "podLabels": {"statefulset.kubernetes.io/pod-name": "web-0"},
                }
            }
        },
        "applications.web.podLabels.statefulset.kubernetes.io/pod-name",
        "never match",
    ),
    (
        "pod security of a foreign namespace",
        policies({"podSecurity": "restricted"}),
        f"{PREFIX}.podSecurity",
        "created",
    ),
    (
        "flows where all is open",
        policies({"defaultDeny": False, "flows": {"web": FLOW}}),
        f"{PREFIX}.flows",
        "defaultDeny is false",
    ),
    (
        "tunnel into a default deny",
        changed() | merged(EDGE, {"cloudflare": {"tunnel": {"rules": [TUNNEL_RULE]}}}),
        "cloudflare.tunnel.rules[0].service",
        "no flow lets the tunnel's connectors in",
    ),
    (
        "two policies of one name",
        changed(flows={"dns": FLOW}),
        PREFIX,
        "named alike",
    ),
]


@pytest.mark.parametrize(("what", "change", "key", "reason"), BAD_VALUES, ids=[case[0] for case in BAD_VALUES])
def test_bad_value_is_refused_with_key_and_reason(what: str, change: dict[str, Any], key: str, reason: str) -> None:
    faults = faults_of(change)
    assert list(faults) == [key], f"{what}: exactly one key is at fault"
    assert reason in faults[key]


def test_flow_from_another_namespace_is_allowed_on_both_ends() -> None:
    staging = {
        "flows": {"to-backend": FLOW | {"destination": {"labels": {"app": "backend"}, "namespace": "production"}}}
    }
    namespaces = {"production": {}, "staging": staging}
    resources = built(settings_with({"networkPolicies": {"enabled": True, "namespaces": namespaces}}))
    assert "policies-staging-allow-to-backend" in resources
    assert "policies-production-accept-to-backend" in resources


def test_pods_of_one_kind_may_have_a_flow_among_themselves() -> None:
    members = {"labels": {"app": "database"}}
    settings_with(changed(flows={"cluster": {"source": members, "destination": members, "port": 7000}}))


def test_flow_from_the_connectors_opens_a_namespace_to_a_rule_of_the_tunnel() -> None:
    connectors = {"labels": {"app.kubernetes.io/name": "cloudflared"}, "namespace": "network"}
    settings_with(flow(source=connectors) | merged(EDGE, {"cloudflare": {"tunnel": {"rules": [TUNNEL_RULE]}}}))


def test_engine_that_judges_is_of_the_version_that_is_deployed() -> None:
    """ADR 0006: another version of Cilium may mean something else by the same policy."""
    folder = PROJECT / "toolchain/policy-verdict"
    pins = tomllib.loads((PROJECT / "toolchain/pins.toml").read_text())
    assert pins["go"]["policy-verdict"]["version"] == CHART_VERSIONS["cilium"]
    assert f"github.com/cilium/cilium v{CHART_VERSIONS['cilium']}\n" in (folder / "go.mod").read_text()
