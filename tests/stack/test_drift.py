"""What was changed behind the program's back: a refresh finds it, and the next update puts exactly that right."""

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from rehearsal.accounts.store import Accounts
from tests.support.control_plane import ControlPlane
from tests.support.engine import NEWER_PLUGIN, Stack
from tests.support.network import Network
from tests.support.rendering import helm

pytestmark = pytest.mark.cluster

DNS = "cloudflare:index/dnsRecord:DnsRecord"
TUNNEL = "cloudflare:index/zeroTrustTunnelCloudflared:ZeroTrustTunnelCloudflared"

NAMESPACE = "/api/v1/namespaces/production"
DENY = "/apis/networking.k8s.io/v1/namespaces/production/networkpolicies/default-deny-all"
METRICS = "/api/v1/namespaces/network/services/cloudflared-metrics"
OF_A_CHART = "/api/v1/namespaces/network/configmaps/internal-ingress-nginx-controller"

LEVEL = "pod-security.kubernetes.io/enforce"


@pytest.fixture
def drifted(network: Network) -> Stack:
    """The stack with something changed at every owner of state."""
    network.damaged = True
    stack, cluster = network.stack, network.plane
    cluster.request("PATCH", NAMESPACE, {"metadata": {"labels": {LEVEL: "privileged"}}})
    cluster.request("DELETE", DENY)
    cluster.request("PATCH", METRICS, {"metadata": {"annotations": {"example.com/note": "by hand"}}})
    cluster.request("PATCH", OF_A_CHART, {"data": {"proxy-body-size": "1m"}})
    with accounts(stack).transaction() as account:
        (apex,) = [record for record in account.all(DNS) if record.inputs["name"] == "example.com"]
        account.put(replace(apex, inputs=apex.inputs | {"content": "elsewhere.example.org"}))
        (tunnel,) = account.all(TUNNEL)
        account.remove(tunnel)
    return stack


def accounts(stack: Stack) -> Accounts:
    return Accounts(Path(stack.environment["ANTON_ACCOUNTS"]))


def run_helm(stack: Stack, *arguments: str) -> str:
    """What helm prints, asked with the stack's kubeconfig."""
    command = [str(helm()), *arguments]
    return subprocess.run(command, env=stack.environment, capture_output=True, text=True, check=True).stdout


def done_to(said: str, *verbs: str) -> set[str]:
    """The names of the resources that a command's output reports as `verbs`."""
    return set(re.findall(rf"^ \S+ +\S+ (\S+) (?:{'|'.join(verbs)})\b(?! replacement)", said, re.MULTILINE))


def test_refresh_names_each_resource_and_property_that_drifted_and_no_other(drifted: Stack) -> None:
    said = drifted.command("refresh", "--preview-only", "--diff").stdout
    found = {}
    for block in re.split(r"^ +(?=[~+-] \S+:\S+: \()", said, flags=re.MULTILINE)[1:]:
        urn = re.search(r"\[urn=(.*)]", block)
        assert urn, block
        found[urn[1].rsplit("::", 1)[1]] = block
    changed = {name: block for name, block in found.items() if "(update)" in block or "(delete)" in block}
    assert set(changed) == {
        "namespaces-production",
        "policies-production-default-deny-all",
        "cloudflare-dns-host-example.com",
        "cloudflare-tunnel-tunnel",
    }
    assert f'~ {LEVEL}: "baseline" => "privileged"' in changed["namespaces-production"]
    assert '~ content: "external.example.com" => "elsewhere.example.org"' in changed["cloudflare-dns-host-example.com"]
    assert "(delete)" in changed["policies-production-default-deny-all"]
    assert "(delete)" in changed["cloudflare-tunnel-tunnel"]


def test_field_that_another_tool_took_is_not_taken_back_unasked(drifted: Stack, cluster: ControlPlane) -> None:
    """Server-side apply knows who set it last; the error names field and tool.

    A newer plugin says so in the update only: until its first update an object has the manager that created it.
    """
    done = drifted.command("preview", "--refresh", check=False)
    assert (done.returncode == 0) is NEWER_PLUGIN
    if NEWER_PLUGIN:
        done = drifted.command("up", "--refresh", "--yes", "--skip-preview", check=False)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "Apply failed with 1 conflict" in said
    assert f".metadata.labels.{LEVEL}" in said
    assert cluster.get(NAMESPACE)["metadata"]["labels"][LEVEL] == "privileged"


def test_update_with_force_repairs_exactly_what_drifted_and_nothing_that_others_made(
    drifted: Stack, cluster: ControlPlane
) -> None:
    arguments = ("up", *drifted.own_file(), "--refresh", "--yes", "--skip-preview")
    said = drifted.run(*arguments, PULUMI_K8S_ENABLE_PATCH_FORCE="true").stdout
    follows_from_the_tunnel = {"cloudflare-dns-tunnel", "cloudflare-connector-deployment"}
    own_setting = {"kubernetes"} if NEWER_PLUGIN else set()  # the variable is an input of the provider
    assert done_to(said, "created") == {"policies-production-default-deny-all", "cloudflare-tunnel-tunnel"}
    assert done_to(said, "replaced") == {"cloudflare-tunnel-config", "cloudflare-connector-token"}
    assert done_to(said, "updated") == follows_from_the_tunnel | own_setting | {
        "namespaces-production",
        "cloudflare-dns-host-example.com",
    }
    assert done_to(drifted.command("up", "--yes", "--skip-preview").stdout, "updated") == own_setting
    assert cluster.get(NAMESPACE)["metadata"]["labels"][LEVEL] == "baseline"
    assert cluster.get(DENY)["spec"]["policyTypes"] == ["Ingress", "Egress"]
    with accounts(drifted).transaction() as account:
        (tunnel,) = account.all(TUNNEL)
        found = {record.inputs["name"]: record.inputs["content"] for record in account.all(DNS)}
    assert found["example.com"] == "external.example.com"
    assert found["external.example.com"] == f"{tunnel.id}.cfargotunnel.com"
    # What others add and what charts made is no drift to Pulumi, which compares the fields that the program sets, and
    # of a release what Helm has recorded. Helm repairs its own.
    assert cluster.get(METRICS)["metadata"]["annotations"]["example.com/note"] == "by hand"
    assert cluster.get(OF_A_CHART)["data"]["proxy-body-size"] == "1m"
    release = ("internal-ingress-nginx", "--namespace", "network")
    revision = str(json.loads(run_helm(drifted, "history", *release, "--output", "json"))[-1]["revision"])
    run_helm(drifted, "rollback", release[0], revision, *release[1:], "--wait")
    assert cluster.get(OF_A_CHART)["data"]["proxy-body-size"] == "50m"
    assert drifted.preview("--refresh", "--expect-no-changes").operations() == {}
