"""The tailnet's side: protection of its policy, settings, DNS and keys, and every refusal with its reason."""

import re
from typing import Any

import pytest
from pulumi.runtime import MockResourceArgs
from pulumi_kubernetes.core.v1 import ConfigMap

from components.tailscale.tailnet import TailnetAccess, TailnetAccessArgs
from settings.tailscale.tailnet import Tailnet
from tests.support.configs import PROJECT, merged
from tests.support.faults import faults_of
from tests.support.recorder import Recorder, run
from tests.support.tailscale import EVERYTHING, MEMBERS, built, dependencies, enabled, holds_secret, policy_with

pytestmark = pytest.mark.unit


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
