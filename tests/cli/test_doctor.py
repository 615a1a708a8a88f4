"""What doctor makes of findings: causes first, unknown is not healthy, checks side by side, the line of a setting."""

import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from cli.doctor import report
from cli.doctor.checks import CHECKS
from cli.doctor.context import Context, Once, UnseenError
from cli.doctor.findings import Finding, Result, Status, critical, explain, note, unknown, warning
from cli.doctor.registry import Check, run_checks
from cli.doctor.stack_lines import StackLines
from tests.support.configs import PROJECT
from tests.support.doctor import DEPLOYMENTS, NODE_LIST, NODES, PODS, causes, context, deployment, node, pod, results

pytestmark = pytest.mark.unit


def problem(subject: str, *after: str, mild: bool = False) -> Finding:
    make = warning if mild else critical
    return make(subject, "is wrong", "right", config="physical", next_="look", after=after)


def result(*findings: Finding, name: str = "check") -> Result:
    return Result(name, "title", findings, 0.1)


def test_what_follows_is_below_its_cause() -> None:
    """Through several steps, whatever the order in which checks say it."""
    consequence, cause = result(problem("tunnel", "pods"), problem("pods", "node")), result(problem("node"))
    (root,) = explain([consequence, cause])
    assert root.finding.subject == "node"
    assert [issue.finding.subject for issue in root] == ["pods", "tunnel"]


def test_causes_come_worst_first_and_then_by_what_they_explain() -> None:
    """A warning stays last, however much follows from it."""
    mild = [problem("a", mild=True), *(problem(f"a{number}", "a", mild=True) for number in range(3))]
    found = explain([result(*mild, problem("b"), problem("c"), problem("c1", "c"))])
    assert [issue.finding.subject for issue in found] == ["c", "b", "a"]


def test_two_that_explain_each_other_are_not_lost() -> None:
    """Each could be the cause; one is named, with the other below."""
    found = explain([result(problem("a", "b"), problem("b", "a"))])
    assert sorted([issue.finding.subject for root in found for issue in (root, *root)]) == ["a", "b"]


def test_a_cause_that_is_healthy_explains_nothing() -> None:
    """Only what is itself found wrong does."""
    found = explain([result(problem("tunnel", "pods"), note("pods", "run"), unknown("pods", "out of reach"))])
    assert [issue.finding.subject for issue in found] == ["tunnel"]


def test_unknown_is_neither_healthy_nor_a_finding() -> None:
    """Of a check: unknown beats healthy. Of all: what was seen counts, and nothing seen at all is unknown."""
    partly = result(note("a", "fine"), unknown("b", "out of reach"))
    assert partly.status is Status.UNKNOWN
    assert result(unknown("b", "out of reach"), problem("a", mild=True)).status is Status.WARNING
    assert report.overall([partly, result(note("a", "fine"))]) is Status.HEALTHY
    assert report.overall([partly, partly]) is Status.UNKNOWN
    assert report.summary([partly, result()]) == {"total": 2, "healthy": 1, "warnings": 0, "critical": 0, "unknown": 1}


def test_checks_run_all_at_the_same_time_and_each_is_told_when_it_is_done() -> None:
    """As many as there are: each waits until all others run as well, and the first until all others are done."""
    together, others = threading.Barrier(len(CHECKS), timeout=60), threading.Event()
    finished: list[str] = []

    def done(result: Result) -> None:
        finished.append(result.check)
        if len(finished) == len(CHECKS) - 1:
            others.set()

    def waiting(name: str) -> Iterator[Finding]:
        together.wait()
        if name == names[0]:
            assert others.wait(60)
        yield note("thing", "as it should be")

    names = [f"check-{number}" for number in range(len(CHECKS))]
    found = run_checks(
        [Check(name, "title", "physical", partial(lambda name, _: waiting(name), name)) for name in names],
        context({}),
        done,
    )
    assert [each.check for each in found] == names
    assert {each.status for each in found} == {Status.HEALTHY}
    assert finished[-1] == names[0]


def test_what_keeps_a_check_from_looking_is_its_reason() -> None:
    """What it found before stays, and even a defect of its own takes nothing from the others."""

    def run(error: Exception) -> Check:
        def half(_: Context) -> Iterator[Finding]:
            yield problem("a")
            raise error

        return Check("half", "title", "physical", half)

    both = [run(UnseenError("out of reach")), run(KeyError("spec"))]
    unseen, defect = run_checks(both, context({}), lambda _: None)
    assert [finding.seen for finding in unseen.findings] == ["is wrong", "out of reach"]
    assert [finding.seen for finding in defect.findings] == ["is wrong", "a defect of this check: KeyError: 'spec'"]
    assert unseen.status is Status.CRITICAL


def test_a_cluster_out_of_reach_is_unknown_everywhere() -> None:
    """With the one reason, and no check passes."""
    found = results(context({}, error="admin@anton can't be reached"), "nodes", "pools", "cilium", "lan-dns", "flows")
    assert {each.status for each in found} == {Status.UNKNOWN}
    assert {finding.seen for each in found for finding in each.findings} == {"admin@anton can't be reached"}


def test_without_a_state_nothing_says_which_flows_were_meant() -> None:
    """A stack that was never brought up from here, on a cluster that runs."""
    (found,) = results(context({}), "flows")
    assert [finding.seen.partition(",")[0] for finding in found.findings] == ["the stack has no state yet"]
    assert found.status is Status.UNKNOWN


def test_an_answer_is_asked_for_once_and_so_is_a_failure() -> None:
    """Whoever asks at the same time waits for it."""
    once, asked = Once(), []

    def answer() -> str:
        asked.append(1)
        time.sleep(0.05)
        raise UnseenError("no")

    def ask(_: int) -> str:
        try:
            return once.get("key", answer)
        except UnseenError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {"no"}
    assert len(asked) == 1


def test_a_node_that_is_down_explains_the_pods_on_it() -> None:
    """A controller with one of two pods left is no second problem."""
    nodes = [node(name, address, ready=name != "k8s-3") for name, address in NODES.items()]
    controllers = [
        deployment(f"network/{name}-ingress-nginx-controller", 2, 1 if name == "internal" else 2)
        for name in ("internal", "external")
    ]
    lost = pod("network/lost", {"app": "internal-ingress-nginx-controller"}, on="k8s-3", ready=False)
    seen = context({NODE_LIST: nodes, DEPLOYMENTS: controllers, PODS: [lost]})
    first = causes(seen, "nodes", "ingress-controllers")[0]
    assert first.finding.subject == "node k8s-3"
    assert "stopped posting" in first.finding.seen
    assert "Deployment network/internal-ingress-nginx-controller" in {issue.finding.subject for issue in first}


def test_pods_say_why_they_are_not_ready() -> None:
    """In the words of the container that waits."""
    waiting = {
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"reason": "OOMKilled"}},
    }
    labels = {"app": "k8s-gateway"}
    crashing = pod("network/k8s-gateway-1", labels, ready=False, containerStatuses=[waiting])
    seen = context({DEPLOYMENTS: [deployment("network/k8s-gateway", 2, 1)], PODS: [crashing]})
    (found,) = causes(seen, "lan-dns")[:1]
    assert found.finding.status is Status.WARNING
    assert found.finding.seen == "1 of 2 pods are ready: k8s-gateway-1 CrashLoopBackOff, last ended as OOMKilled"


def test_the_line_of_a_setting(tmp_path: Path) -> None:
    """Of the shipped file; a value left at its default is at the object that would hold it."""
    lines = StackLines(PROJECT / "Pulumi.prod.yaml")
    text = (PROJECT / "Pulumi.prod.yaml").read_text().splitlines()
    where, _, key = lines.find("physical.nodes.k8s-2.address").partition(" ")
    assert key == "physical.nodes.k8s-2.address"
    assert text[int(where.split(":")[1]) - 1].strip() == "address: 192.168.1.99"
    assert lines.find("physical.mtu").endswith("physical (mtu at its default)")
    assert lines.find("cilium.loadBalancing.mode") == "Pulumi.prod.yaml cilium.loadBalancing.mode (not set)"
    assert StackLines(tmp_path / "Pulumi.none.yaml").find("physical.mtu") == "Pulumi.none.yaml physical.mtu (not set)"


def test_every_check_and_every_test_of_a_fault_is_in_the_documentation() -> None:
    """The table of checks is complete, and the table of faults names tests that exist."""
    text = (PROJECT / "docs/anton-doctor.md").read_text()
    table = text.partition("## Checks")[2].partition("\n## ")[0]
    documented = re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)
    assert documented == list(CHECKS)
    code = "\n".join(path.read_text() for path in (PROJECT / "tests").rglob("test_*.py"))
    named = re.findall(r"`(test_\w+)` \|$", text, re.MULTILINE)
    assert len(named) > 15
    assert [name for name in named if f"def {name}(" not in code] == []
