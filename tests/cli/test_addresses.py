"""What tools say of LoadBalancer addresses that running Services hold: before a change, and when one is missing."""

from typing import Any

import pytest

from cli.addresses import Move, planned_moves
from cli.diff.fields import differences
from cli.diff.objects import compare
from cli.diff.rules import Context, dangers
from cli.diff.sides import Before
from cli.program import Change, Plan, Resource
from components.cilium.load_balancer import pools
from settings.reservations import reservations
from settings.stack import Settings
from tests.support.configs import settings_with, stack_config
from tests.support.doctor import Objects, context, results

pytestmark = pytest.mark.unit

POOLS, SERVICES = "/apis/cilium.io/v2/ciliumloadbalancerippools", "/api/v1/services"
INTERNAL = "network/internal-ingress-nginx-controller"


def settings(**balancer: Any) -> Settings:
    return settings_with({"loadBalancer": balancer}, stack_config())


def pool_resources(of: Settings) -> dict[str, Resource]:
    return {
        entry["name"]: Resource(
            f"urn:pulumi:test::anton-network::pool::cilium-loadbalancerippool-{entry['name']}",
            "kubernetes:cilium.io/v2:CiliumLoadBalancerIPPool",
            {
                "apiVersion": "cilium.io/v2",
                "kind": entry["kind"],
                "metadata": {"name": entry["name"]},
                "spec": entry["spec"],
            },
        )
        for entry in pools(of.load_balancer, reservations(of))
    }


def plan(before: Settings, after: Settings) -> Plan:
    old, new = pool_resources(before), pool_resources(after)
    changes = []
    for name in {**old, **new}:
        one, other = old.get(name), new.get(name)
        operation = "delete" if other is None else "create" if one is None else "update"
        same = one and other and one.inputs == other.inputs
        changes.append(Change("same" if same else operation, one, other))
    return Plan(tuple(changes))


def service(name: str, holds: str, **annotations: str) -> dict[str, Any]:
    namespace, _, own = name.partition("/")
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": namespace, "name": own, "annotations": annotations},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
        "status": {"loadBalancer": {"ingress": [{"ip": holds}] if holds else []}},
    }


def cluster(*services: dict[str, Any], pools: tuple[dict[str, Any], ...] = ()) -> Any:
    found: Any = Objects({SERVICES: list(services), POOLS: list(pools)})
    found.context = "test"
    return found


SHRUNK = {"pools": {"lan": {"start": "192.168.1.102", "stop": "192.168.1.106"}}}


def test_plan_that_shrinks_a_pool_names_the_services_that_lose_their_address() -> None:
    held = cluster(service("default/web", "192.168.1.110"), service("default/api", "192.168.1.105"))
    assert planned_moves(plan(settings(), settings(**SHRUNK)), held) == [
        Move("192.168.1.110", "default/web", "192.168.1.106")
    ]
    assert planned_moves(plan(settings(), settings()), held) == []


def test_pool_that_is_not_the_stacks_still_gives_its_addresses() -> None:
    foreign = {
        "metadata": {"name": "by-hand"},
        "spec": {"blocks": [{"start": "192.168.1.110", "stop": "192.168.1.120"}]},
    }
    held = cluster(service("default/web", "192.168.1.110"), pools=(foreign,))
    assert planned_moves(plan(settings(), settings(**SHRUNK)), held) == []


def test_diff_marks_the_pool_with_each_service_that_loses_its_address() -> None:
    held = cluster(service("default/web", "192.168.1.110"))
    found = compare("test", plan(settings(), settings(**SHRUNK)), Before(cluster=held), nodes=3)
    marked = {each.key.name: [danger.text for danger in each.dangers] for each in found.differences}
    assert marked == {"lan": ["Service default/web loses 192.168.1.110 and gets 192.168.1.105"]}


def test_diff_says_nothing_of_addresses_that_stay() -> None:
    held = cluster(service("default/web", "192.168.1.105"))
    found = compare("test", plan(settings(), settings(**SHRUNK)), Before(cluster=held), nodes=3)
    assert [danger for each in found.differences for danger in each.dangers] == []


@pytest.mark.parametrize("operation", ["added", "changed"])
def test_diff_names_who_holds_an_address_that_a_service_asks_for(operation: str) -> None:
    after = service(INTERNAL, "", **{"lbipam.cilium.io/ips": "192.168.1.103"})
    before = {} if operation == "added" else service(INTERNAL, "")
    fields = tuple(differences(before, after))

    def said(holder: str) -> list[str]:
        held = {"192.168.1.103": holder}
        found = dangers(Context("Service", operation, before, after, fields, held=held))
        return [danger.text for danger in found if danger.rule == "address-held"]

    assert said("default/web") == [
        "waits for 192.168.1.103 until the update is rolled back: Service default/web holds it, and keeps it"
    ]
    assert said(INTERNAL) == [], "itself"


def test_doctor_names_who_holds_a_declared_address() -> None:
    refused = {
        "type": "cilium.io/IPAMRequestSatisfied",
        "status": "False",
        "message": "The IP '192.168.1.103' is already allocated to another service",
    }
    waiting = service(INTERNAL, "", **{"lbipam.cilium.io/ips": "192.168.1.103"})
    waiting["status"]["conditions"] = [refused]
    gateway = service("network/k8s-gateway", "192.168.1.102")
    objects = {SERVICES: [waiting, gateway, service("default/web", "192.168.1.103")]}
    (found,) = results(context(objects, settings=settings()), "addresses")
    (finding,) = [each for each in found.findings if each.subject == f"Service {INTERNAL}"]
    assert "192.168.1.103 is held by Service default/web" in finding.seen


def test_doctor_knows_the_pools_of_fixed_addresses() -> None:
    declared = [resource.inputs for resource in pool_resources(settings()).values()]

    def seen(*found: Any) -> dict[str, str]:
        (result,) = results(context({POOLS: list(found)}, settings=settings()), "pools")
        return {each.subject: each.seen for each in result.findings if each.subject.startswith("pool ")}

    assert seen(*declared) == {}
    assert seen(*declared[1:]) == {"pool reserved-k8s-gateway": "does not exist"}
    everybody = {**declared[0], "spec": {key: value for key, value in declared[0]["spec"].items() if key == "blocks"}}
    assert seen(everybody, *declared[1:]) == {"pool reserved-k8s-gateway": "serves other Services"}
