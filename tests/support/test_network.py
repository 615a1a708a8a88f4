"""Whatever a test leaves behind, the next one finds the shared network as it was."""

import json

import pytest

from rehearsal.accounts.store import Record
from tests.support.control_plane import ApiError
from tests.support.engine import Stack
from tests.support.network import Network

pytestmark = pytest.mark.cluster

NAMESPACES = "/api/v1/namespaces"


def state(stack: Stack) -> bytes:
    return (stack.folder / "state/.pulumi/stacks/anton-network/test.json").read_bytes()


def test_locks_pending_operations_objects_records_and_configuration_are_put_back(small_network: Network) -> None:
    stack, cluster = small_network.stack, small_network.plane
    small_network.damaged = True
    before, url = state(stack), cluster.url
    nodes = [node["metadata"]["uid"] for node in cluster.get("/api/v1/nodes")["items"]]

    stack.configure({"physical": {}})
    document = json.loads(stack.run("stack", "export", "--stack", "test").stdout)
    release = next(entry for entry in document["deployment"]["resources"] if entry["type"].endswith(":Release"))
    document["deployment"]["pending_operations"] = [{"resource": release, "type": "updating"}]
    file = stack.folder / "damaged.json"
    file.write_text(json.dumps(document))
    stack.run("stack", "import", "--file", str(file), "--stack", "test")
    lock = stack.folder / "state/.pulumi/locks/organization/anton-network/test/some.json"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text('{"pid": 1}')
    cluster.request("POST", NAMESPACES, {"metadata": {"name": "left"}})
    cluster.kill("kube-scheduler")
    with small_network.accounts.transaction() as account:
        account.put(Record("cloudflare:index/dnsRecord:DnsRecord", "zone", "left", {"name": "left"}))
    assert "currently locked" in stack.command("up", "--yes", check=False).stderr

    small_network.restore()
    assert state(stack) == before
    assert cluster.url == url and all(cluster.running().values())
    assert [node["metadata"]["uid"] for node in cluster.get("/api/v1/nodes")["items"]] == nodes
    with pytest.raises(ApiError, match="404"):
        cluster.get(f"{NAMESPACES}/left")
    with small_network.accounts.transaction() as account:
        assert account.all() == []
    stack.command("up", "--yes", "--skip-preview", "--expect-no-changes")
