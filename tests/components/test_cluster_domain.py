"""The cluster's own domain: what its DNS answers from Services, and what nobody else may answer or need there."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.discovery.corefile import corefile
from components.discovery.services import ServiceDiscoveryArgs
from settings.errors import ConfigError
from settings.fields import Problem
from settings.load import parse
from settings.stack import Settings
from tests.support.configs import STAND_IN_SECRETS, charts_without_files, merged, settings_with, stack_config
from tests.support.corefile import ServerBlock, blocks
from tests.support.edge import built

pytestmark = pytest.mark.unit


def coredns(**values: Any) -> dict[str, Any]:
    return {"discovery": {"coredns": {"manage": True, **values}}}


def the_only_problem(change: dict[str, Any]) -> Problem:
    with pytest.raises(ConfigError) as caught:
        settings_with(change, stack_config())
    assert len(caught.value.problems) == 1, [(problem.key, problem.reason) for problem in caught.value.problems]
    return caught.value.problems[0]


def egress(*to: str) -> dict[str, Any]:
    entry = {"source": {"labels": {"app": "web"}}, "to": list(to)}
    return {"networkPolicies": {"namespaces": {"production": {"egress": {"out": entry}}}}}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (coredns(clusterDomain="example.com"), "holds example.com (cluster.domain)"),
        (coredns(clusterDomain="example.com", manage=False), "holds example.com (cluster.domain)"),
        (coredns(clusterDomain="com"), "holds example.com (cluster.domain)"),
        (coredns(clusterDomain="example.com", forwardLanDomain=False), "holds example.com (cluster.domain)"),
        (coredns(clusterDomain="k8s.example.com"), "lies in example.com, for which other resolvers are asked"),
        (
            coredns(clusterDomain="k8s.home.arpa", zones={"home.arpa": ["192.168.1.1"]}),
            "lies in home.arpa, for which other resolvers are asked",
        ),
        (merged(coredns(clusterDomain="org"), egress("api.example.org")), "egress.out.to"),
        (
            merged(
                coredns(clusterDomain="example.net"),
                {
                    "discovery": {
                        "services": {
                            "db": {"namespace": "production", "type": "external-name", "host": "db.example.net"}
                        }
                    }
                },
            ),
            "holds db.example.net (discovery.services.db.host)",
        ),
    ],
)
def test_domain_of_the_cluster_holds_no_other_names_and_lies_in_no_other_zone(
    change: dict[str, Any], reason: str
) -> None:
    problem = the_only_problem(change)
    assert (problem.key, problem.example) == ("discovery.coredns.clusterDomain", "cluster.local")
    assert reason in problem.reason


def test_zone_and_host_inside_the_clusters_domain_are_refused_whatever_its_name() -> None:
    zone = {"db.k8s.internal": ["192.168.1.1"]}
    assert the_only_problem(coredns(clusterDomain="k8s.internal", zones=zone)).key == (
        "discovery.coredns.zones.db.k8s.internal"
    )
    service = {"namespace": "production", "type": "external-name", "host": "web.production.svc.k8s.internal"}
    change = merged(coredns(clusterDomain="k8s.internal"), {"discovery": {"services": {"db": service}}})
    assert the_only_problem(change).key == "discovery.services.db.host"


@pytest.mark.parametrize("domain", ["cluster.local", "k8s.internal", "kube", "k8s.example.com"])
def test_domain_apart_from_all_others_is_accepted(domain: str) -> None:
    settings_with(coredns(clusterDomain=domain, forwardLanDomain=False), stack_config())


def test_layer_that_is_off_judges_no_domain() -> None:
    off = {"discovery": {"enabled": False}, "tailscale": {"tailnet": {"splitDns": None}}}
    settings_with(merged(coredns(clusterDomain="example.com"), off), stack_config())


def asked(settings: Settings, name: str) -> ServerBlock:
    """The server block that CoreDNS takes for a name: that of the longest zone."""
    discovery = ServiceDiscoveryArgs.of(settings, namespace="network")
    text = corefile(settings.discovery.coredns, settings.cluster.domain, discovery.gateway_address)
    zones = {block.keys[0].removesuffix(":53"): block for block in blocks(text)}
    labels = name.split(".")
    return next(
        block
        for start in range(len(labels) + 1)
        if (block := zones.get(".".join(labels[start:]) or ".")) or start == len(labels)
        if block
    )


def answered_from_services(settings: Settings, name: str) -> bool:
    """Whether CoreDNS answers a name from the API alone."""
    return any(
        f".{name}".endswith(f".{zone}")
        for directive in asked(settings, name).directives
        if directive.name == "kubernetes"
        for zone in directive.arguments
    )


OWN = st.sampled_from(["com", "example.com", "k8s.example.com", "cluster.local", "home.arpa", "k8s.home.arpa"])
OTHERS = st.sampled_from(["example.com", "k8s.example.com", "a.example.com", "home.arpa", "k8s.home.arpa"])


@given(OWN, OTHERS, st.sets(OTHERS, max_size=2), st.booleans())
def test_accepted_corefile_finds_services_and_nothing_else_in_the_clusters_domain(
    own: str, public: str, zones: set[str], forward: bool
) -> None:
    change: dict[str, Any] = coredns(
        clusterDomain=own, forwardLanDomain=forward, zones={zone: ["192.168.1.1"] for zone in zones}
    )
    change |= {"cluster": {"domain": public}, "cloudflare": None, "certificates": None}
    change |= {"ingress": {"classes": {name: {"certificateIssuer": None} for name in ("internal", "external")}}}
    try:
        settings = parse(merged(stack_config(), change), charts_without_files, STAND_IN_SECRETS)
    except ConfigError:
        return
    assert answered_from_services(settings, f"web.production.svc.{own}")
    for outside in (public, *zones):
        assert not answered_from_services(settings, f"app.{outside}")


def test_tunnel_asks_for_the_controller_in_the_clusters_own_domain() -> None:
    ingresses = built(coredns(clusterDomain="k8s.internal"))["cloudflare-tunnel-config"].inputs["config"]["ingresses"]
    assert ingresses[0]["service"] == "https://external-ingress-nginx-controller.network.svc.k8s.internal:443"
