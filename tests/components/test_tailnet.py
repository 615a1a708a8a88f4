"""The tailnet's side: policy document, protection, DNS, keys, and every refusal with its reason."""

import json
import re
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pulumi.runtime import MockResourceArgs
from pulumi_kubernetes.core.v1 import ConfigMap

from components.tailscale.ingress import tailnet_policy
from components.tailscale.policy import policy_document
from components.tailscale.tailnet import TailnetAccess, TailnetAccessArgs
from settings.tailscale.policy import Grant, Policy, generated_tests
from settings.tailscale.tailnet import Tailnet
from tests.components.test_tailscale import (
    EVERYTHING,
    built,
    dependencies,
    enabled,
    faults_of,
    holds_secret,
    tailscale_arguments,
)
from tests.support.configs import PROJECT, merged, settings_with
from tests.support.recorder import Recorder, run

pytestmark = pytest.mark.unit

MEMBERS = {"src": ["autogroup:member"], "dst": ["tag:k8s"], "ip": ["tcp:443"]}


def policy_with(**values: Any) -> dict[str, Any]:
    """A change that manages a policy: the members' grant, with other values laid over."""
    policy = merged({"testMember": "someone@example.com", "grants": {"members": MEMBERS}}, values)
    return enabled(tailnet={"policy": policy})


def document(change: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(tailnet_policy(tailscale_arguments(settings_with(change))))
    return result


# The policy file


def test_operator_owns_what_its_proxies_carry() -> None:
    assert document(policy_with())["tagOwners"] == {"tag:k8s-operator": [], "tag:k8s": ["tag:k8s-operator"]}


def test_routes_of_the_connector_are_approved_for_its_own_tags_alone() -> None:
    change = merged(policy_with(), enabled(connector={"tags": ["tag:k8s-router"], "routes": ["192.168.50.0/24"]}))
    found = document(change)
    assert found["autoApprovers"] == {
        "routes": {route: ["tag:k8s-router"] for route in ("192.168.1.102/32", "192.168.1.103/32", "192.168.50.0/24")}
    }
    assert found["tagOwners"]["tag:k8s-router"] == ["tag:k8s-operator"], "the operator could not start the router"


def test_services_of_the_proxy_group_are_approved_for_its_tags() -> None:
    change = merged(policy_with(), enabled(proxyGroup={}))
    assert document(change)["autoApprovers"] == {"services": {"tag:k8s": ["tag:k8s"]}}


def test_nothing_is_approved_that_nobody_advertises() -> None:
    assert "autoApprovers" not in document(policy_with())


def test_shell_access_funnel_and_the_old_rules_are_not_in_the_file() -> None:
    found = document(EVERYTHING)
    assert found.keys() == {"tagOwners", "grants", "autoApprovers", "tests"}
    assert "nodeAttrs" not in found, "a device could publish itself to the internet"


def test_grants_become_tests_that_tailscale_runs() -> None:
    change = policy_with(
        groups={"group:admins": ["root@example.com"]},
        tagOwners={"tag:db": ["group:admins"]},
        grants={
            "database": {"src": ["group:admins", "tag:k8s"], "dst": ["tag:db", "10.0.0.0/24"], "ip": ["5432-5433"]},
            "names": {"src": ["autogroup:member"], "dst": ["192.168.1.102/32"], "ip": ["udp:53", "icmp:*"]},
            "all": {"src": ["root@example.com"], "dst": ["*", "tag:db"], "ip": ["*"]},
        },
        tests={"no-shell": {"src": "someone@example.com", "proto": "tcp", "deny": ["tag:k8s:23", "tag:k8s:22"]}},
    )
    assert document(change)["tests"] == [
        {"src": "group:admins", "accept": ["10.0.0.1:5432", "tag:db:5432"]},
        {"src": "root@example.com", "accept": ["tag:db:443"]},
        {"src": "someone@example.com", "proto": "tcp", "accept": ["tag:k8s:443"]},
        {"src": "someone@example.com", "proto": "udp", "accept": ["192.168.1.102:53"]},
        {"src": "tag:k8s", "accept": ["10.0.0.1:5432", "tag:db:5432"]},
        {"src": "someone@example.com", "proto": "tcp", "deny": ["tag:k8s:22", "tag:k8s:23"]},
    ]


def test_tests_name_no_autogroup_because_tailscale_refuses_it_there() -> None:
    grants = {"admins": {"src": ["autogroup:admin", "tag:ci"], "dst": ["autogroup:internet", "tag:k8s"], "ip": ["80"]}}
    change = policy_with(grants=grants, tagOwners={"tag:ci": ["autogroup:admin"]})
    assert "autogroup:" not in json.dumps(document(change)["tests"])


def test_capability_of_an_application_reaches_the_file() -> None:
    capability = {"tailscale.com/cap/kubernetes": [{"impersonate": {"groups": ["system:masters"]}}]}
    change = policy_with(
        grants={"kubectl": {"src": ["autogroup:admin"], "dst": ["tag:k8s-operator"], "app": capability}}
    )
    (grant,) = [each for each in document(change)["grants"] if "app" in each]
    assert grant == {"src": ["autogroup:admin"], "dst": ["tag:k8s-operator"], "app": capability}


SOURCES = st.lists(
    st.sampled_from(["autogroup:member", "autogroup:admin", "group:admins", "tag:ci", "someone@example.com"]),
    min_size=1,
    max_size=4,
)
DESTINATIONS = st.lists(
    st.sampled_from(["tag:k8s", "tag:db", "192.168.1.102", "10.0.0.0/8", "*", "svc:web", "autogroup:internet"]),
    min_size=1,
    max_size=4,
)
PORTS = st.lists(st.sampled_from(["443", "tcp:443", "udp:53", "8000-8010", "*", "icmp:*"]), min_size=1, max_size=3)
GRANTS = st.dictionaries(
    st.from_regex(r"[a-z]{1,6}", fullmatch=True),
    st.builds(lambda src, dst, ip: {"src": src, "dst": dst, "ip": ip}, SOURCES, DESTINATIONS, PORTS),
    min_size=1,
    max_size=4,
)


def read(grants: dict[str, Any]) -> Policy:
    return Policy.model_validate({"grants": grants, "testMember": "member@example.com"})


@given(GRANTS, st.randoms(use_true_random=False))
def test_order_of_the_settings_does_not_change_the_file(grants: dict[str, Any], random: Any) -> None:
    names = list(grants)
    random.shuffle(names)
    shuffled = {name: {side: random.sample(each, len(each)) for side, each in grants[name].items()} for name in names}
    owners = {"tag:k8s": ("tag:k8s-operator",), "tag:db": ()}
    again = dict(reversed(owners.items()))
    assert policy_document(read(grants), owners, {}) == policy_document(read(shuffled), again, {}), (
        "every preview would show a change"
    )


@given(GRANTS)
def test_no_test_asks_for_more_than_a_grant_gives(grants: dict[str, Any]) -> None:
    policy = read(grants)
    for test in generated_tests(policy):
        source = "autogroup:member" if test["src"] == "member@example.com" else test["src"]
        for place in test["accept"]:
            host, _, port = place.rpartition(":")
            assert any(
                source in grant.src and gives(grant, host, test.get("proto", ""), port)
                for grant in policy.grants.values()
            ), f"Tailscale would refuse the policy: {test}"


def gives(grant: Grant, host: str, protocol: str, port: str) -> bool:
    """Whether one of a grant's destinations is `host`, or the network that begins with it, on that port."""
    heads = {"10.0.0.0/8": "10.0.0.1"}
    entries = {entry.rpartition(":")[2] for entry in grant.ip if entry.rpartition(":")[0] == protocol}
    return host in {heads.get(each, each) for each in grant.dst} and port in {
        "443" if ports == "*" else ports.partition("-")[0] for ports in entries
    }


@pytest.mark.parametrize(
    ("dst", "ip", "opens"),
    [
        ("192.168.1.102", "53", True),
        ("192.168.1.102/32", "udp:53", True),
        ("192.168.1.0/24", "50-60", True),
        ("*", "*", True),
        ("192.168.1.102", "tcp:53", False),
        ("192.168.1.103", "53", False),
        ("192.168.1.102", "54-60", False),
        ("tag:k8s", "*", False),
    ],
)
def test_grant_opens_an_address_only_by_that_address(dst: str, ip: str, opens: bool) -> None:
    grant = Grant.model_validate({"src": ["autogroup:member"], "dst": [dst], "ip": [ip]})
    assert grant.opens(IPv4Address("192.168.1.102"), "udp", 53) is opens


# What is registered


def test_tailnet_without_wishes_is_left_alone() -> None:
    assert {name for name in built(enabled(tailnet={})) if name.startswith(("tailnet-", "dns-"))} == set()


def test_policy_is_not_managed_unless_it_is_written_down() -> None:
    change = enabled(tailnet={"magicDns": True, "authKeys": {"nodes": {"tags": ["tag:k8s-node"]}}})
    assert "tailnet-policy" not in built(change)


@pytest.mark.parametrize("protect", [True, False])
def test_existing_policy_is_never_overwritten_reset_or_deleted(protect: bool) -> None:
    policy = built(merged(policy_with(), {"kubernetes": {"protect": protect}}))["tailnet-policy"]
    assert policy.type == "tailscale:index/acl:Acl"
    assert policy.inputs["overwriteExistingContent"] is False, "the API's 412 is the refusal"
    assert policy.inputs["resetAclOnDestroy"] is False, "Tailscale's default lets everybody reach everything"
    assert policy.opts.protect is True, "whatever kubernetes.protect says"
    assert policy.opts.retain_on_delete is True


def test_documentation_gives_the_import_for_the_name_that_is_registered() -> None:
    (policy,) = [entry for entry in built(policy_with()).values() if entry.type == "tailscale:index/acl:Acl"]
    command = f"pulumi import -s prod tailscale:index/acl:Acl {policy.name} acl"
    assert command in (PROJECT / "docs/tailscale.md").read_text()


def test_settings_of_the_tailnet_change_only_where_asked() -> None:
    change = enabled(tailnet={"httpsCertificates": True})
    assert built(change)["tailnet-settings"].inputs == {"httpsEnabled": True}, "the rest belongs to others"
    assert built(policy_with(lockConsole=True))["tailnet-settings"].inputs == {"aclsExternallyManagedOn": True}


def test_magic_dns_stays_on_when_the_stack_goes() -> None:
    preferences = built(enabled(tailnet={"magicDns": True}))["dns-preferences"]
    assert preferences.inputs == {"magicDns": True}
    assert preferences.opts.retain_on_delete is True, "the provider's delete turns it off for the whole tailnet"


def test_split_dns_sends_the_domain_to_the_gateway_on_the_lan() -> None:
    split = built(EVERYTHING)["dns-split"]
    assert split.inputs == {"domain": "example.com", "nameservers": ["192.168.1.102"]}


def test_all_of_the_tailnets_dns_is_never_taken_over() -> None:
    kinds = {entry.type.rpartition(":")[2] for entry in built(EVERYTHING).values() if ":index/dns" in entry.type}
    assert kinds == {"DnsPreferences", "DnsSearchPaths", "DnsSplitNameservers"}


def test_split_dns_without_a_connector_is_a_matter_of_trust() -> None:
    change = merged(enabled(tailnet={"splitDns": {"reachable": True}}), {"discovery": {"enabled": True}})
    assert dependencies(built(change)["dns-split"]) == set()


def test_auth_key_is_for_devices_that_stay() -> None:
    keys = {"nodes": {"tags": ["tag:k8s-node"], "expiryDays": 7}}
    inputs = built(enabled(tailnet={"authKeys": keys}))["tailnet-key-nodes"].inputs
    assert inputs == {
        "tags": ["tag:k8s-node"],
        "reusable": True,
        "preauthorized": True,
        "ephemeral": False,
        "expiry": 604800,
        "recreateIfInvalid": "always",
        "description": "nodes",
    }


class WithKeys(Recorder):
    """Answers a new auth key with its secret part, as the API does."""

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        identity, outputs = super().new_resource(args)
        return identity, outputs | ({"key": "stand-in-key"} if args.typ.endswith(":TailnetKey") else {})


def test_auth_keys_leave_the_component_as_secrets() -> None:
    tailnet = Tailnet.model_validate({"authKeys": {"nodes": {"tags": ["tag:k8s-node"]}}})
    recorder = WithKeys({})

    def build() -> None:
        access = TailnetAccess("tailnet", TailnetAccessArgs(tailnet=tailnet, policy=None))
        ConfigMap("probe", data=access.auth_keys)

    run(build, recorder)
    (probe,) = [entry for entry in recorder.registrations if entry.name == "probe"]
    assert holds_secret(probe.inputs["data"]), "whoever exports them would publish them"
    assert probe.inputs["data"]["value"] == {"nodes": "stand-in-key"}


@pytest.mark.parametrize(
    ("tailnet", "scopes"),
    [
        ({}, []),
        ({"magicDns": True}, ["dns"]),
        ({"splitDns": {"reachable": True}}, ["dns"]),
        ({"searchPaths": ["example.com"]}, ["dns"]),
        ({"httpsCertificates": True}, ["feature_settings", "networking_settings"]),
        ({"authKeys": {"nodes": {"tags": ["tag:k8s-node"]}}}, ["auth_keys"]),
        ({"policy": {"grants": {"members": MEMBERS}}}, ["policy_file"]),
        ({"policy": {"grants": {"members": MEMBERS}, "lockConsole": True}}, ["policy_file", "feature_settings"]),
    ],
)
def test_client_of_the_program_needs_no_more_than_the_settings_use(tailnet: dict[str, Any], scopes: list[str]) -> None:
    assert Tailnet.model_validate(tailnet).scopes == scopes


def test_name_of_the_tailnet_is_nowhere_in_the_program() -> None:
    assert Tailnet().name == "-"
    files = [*(PROJECT / "components").rglob("*.py"), PROJECT / "__main__.py", *PROJECT.glob("Pulumi*.yaml")]
    assert len(files) > 20
    assert not [path.name for path in files if re.search(r"[\w-]\.ts\.net", path.read_text())]


# What is refused

REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    # what is wrong, the change, the key below tailscale.tailnet that it is reported under, a part of the reason
    (
        "everything for everybody",
        policy_with(grants={"open": {"src": ["*"], "dst": ["*"], "ip": ["*"]}}),
        "policy.grants.open.src",
        "opens everything to everybody",
    ),
    (
        "the same in other words",
        policy_with(grants={"open": {"src": ["autogroup:danger-all"], "dst": ["0.0.0.0/0"], "ip": ["443"]}}),
        "policy.grants.open.src",
        "opens everything to everybody",
    ),
    (
        "a grant of nothing",
        policy_with(grants={"none": {"src": ["autogroup:member"], "dst": ["tag:k8s"]}}),
        "policy.grants.none.ip",
        "gives nothing",
    ),
    (
        "a service as a source",
        policy_with(grants={"odd": {"src": ["svc:web"], "dst": ["tag:k8s"], "ip": ["443"]}}),
        "policy.grants.odd.src",
        "only be a destination",
    ),
    (
        "a tag that nobody owns",
        policy_with(grants={"odd": {"src": ["tag:ci"], "dst": ["tag:k8s"], "ip": ["443"]}}),
        "policy.grants.odd.src",
        "no entry in tailscale.tailnet.policy.tagOwners",
    ),
    (
        "a tag in a test that nobody owns",
        policy_with(tests={"odd": {"src": "someone@example.com", "deny": ["tag:db:5432"]}}),
        "policy.tests.odd.deny",
        "no entry in tailscale.tailnet.policy.tagOwners",
    ),
    (
        "a tag that owns and that nobody owns",
        policy_with(tagOwners={"tag:db": ["tag:ci"]}),
        "policy.tagOwners.tag:db",
        "no entry in tailscale.tailnet.policy.tagOwners",
    ),
    (
        "a key's tag that nobody owns",
        merged(policy_with(), enabled(tailnet={"authKeys": {"nodes": {"tags": ["tag:k8s-node"]}}})),
        "authKeys.nodes.tags",
        "no entry in tailscale.tailnet.policy.tagOwners",
    ),
    (
        "proxies that the operator does not own",
        policy_with(tagOwners={"tag:k8s": ["autogroup:admin"]}),
        "policy.tagOwners.tag:k8s",
        "leaves out the operator's tag",
    ),
    (
        "routers that the operator does not own",
        merged(
            policy_with(tagOwners={"tag:k8s-router": ["autogroup:admin"]}),
            enabled(connector={"tags": ["tag:k8s-router"]}),
        ),
        "policy.tagOwners.tag:k8s-router",
        "leaves out the operator's tag",
    ),
    (
        "a group that does not exist",
        policy_with(grants={"odd": {"src": ["group:admins"], "dst": ["tag:k8s"], "ip": ["443"]}}),
        "policy.grants.odd.src",
        "no entry in groups",
    ),
    (
        "a policy without a test",
        policy_with(testMember=None),
        "policy.testMember",
        "tests do not take",
    ),
    (
        "a test of nothing",
        policy_with(tests={"odd": {"src": "someone@example.com"}}),
        "policy.tests.odd.accept",
        "nothing is tested",
    ),
    (
        "a test that can't be passed",
        policy_with(tests={"odd": {"src": "someone@example.com", "accept": ["tag:k8s:1"], "deny": ["tag:k8s:1"]}}),
        "policy.tests.odd.deny",
        "is in accept as well",
    ),
    (
        "an autogroup in a test",
        policy_with(tests={"odd": {"src": "autogroup:member", "deny": ["tag:k8s:22"]}}),
        "policy.tests.odd.src",
        "is an autogroup",
    ),
    (
        "a test of many ports",
        policy_with(tests={"odd": {"src": "someone@example.com", "deny": ["tag:k8s:22", "tag:k8s:1-22"]}}),
        "policy.tests.odd.deny[1]",
        "one port",
    ),
    (
        "a selector of no known kind",
        policy_with(grants={"odd": {"src": ["autogroup:member", "everyone"], "dst": ["tag:k8s"], "ip": ["443"]}}),
        "policy.grants.odd.src[1]",
        "is no selector",
    ),
    (
        "a network with host bits",
        policy_with(grants={"odd": {"src": ["autogroup:member"], "dst": ["tag:k8s", "10.0.0.1/8"], "ip": ["443"]}}),
        "policy.grants.odd.dst[1]",
        "is no selector",
    ),
    (
        "a port that does not exist",
        policy_with(grants={"odd": {"src": ["autogroup:member"], "dst": ["tag:k8s"], "ip": ["tcp:443", "tcp:70000"]}}),
        "policy.grants.odd.ip[1]",
        "PORT",
    ),
    (
        "a range backwards",
        policy_with(grants={"odd": {"src": ["autogroup:member"], "dst": ["tag:k8s"], "ip": ["tcp:443", "90-80"]}}),
        "policy.grants.odd.ip[1]",
        "FROM-TO",
    ),
    ("a policy without grants", enabled(tailnet={"policy": {}}), "policy.grants", "is required"),
    (
        "a key that outlives what Tailscale allows",
        enabled(tailnet={"authKeys": {"nodes": {"tags": ["tag:k8s-node"], "expiryDays": 91}}}),
        "authKeys.nodes.expiryDays",
        "90",
    ),
    (
        "names that no route leads to",
        merged(
            enabled(connector={"addresses": ["internal"]}, tailnet={"splitDns": {}}), {"discovery": {"enabled": True}}
        ),
        "splitDns",
        "no route of tailscale.connector leads to",
    ),
    (
        "names without any connector",
        merged(enabled(tailnet={"splitDns": {}}), {"discovery": {"enabled": True}}),
        "splitDns",
        "no route of tailscale.connector leads to",
    ),
    (
        "names that nobody answers",
        merged(enabled(connector={}, tailnet={"splitDns": {}}), {"discovery": {"enabled": False}}),
        "splitDns",
        "discovery.enabled is false",
    ),
    (
        "names that nobody may ask for",
        merged(
            policy_with(), merged(enabled(connector={}, tailnet={"splitDns": {}}), {"discovery": {"enabled": True}})
        ),
        "policy.grants",
        "192.168.1.102 on UDP 53",
    ),
]


@pytest.mark.parametrize(("change", "key", "reason"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_tailnet_setting_is_refused_with_its_reason(change: dict[str, Any], key: str, reason: str) -> None:
    found = faults_of(change)
    assert found.keys() == {f"tailscale.tailnet.{key}"}, "one fault, one message"
    assert reason in found[f"tailscale.tailnet.{key}"]


def test_split_dns_without_an_address_for_the_gateway_is_refused() -> None:
    change = merged(
        enabled(tailnet={"splitDns": {"reachable": True}}), {"loadBalancer": {"addresses": {"k8s-gateway": None}}}
    )
    assert "is not set" in faults_of(change)["tailscale.tailnet.splitDns"]
