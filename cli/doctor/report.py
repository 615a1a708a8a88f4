"""What doctor says in the end: for people, causes first, and for programs as one JSON document."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from rich.markup import escape

from cli.console import OUT
from cli.doctor.findings import Finding, Issue, Result, Status, explain, worst

_COLOURS = {Status.HEALTHY: "green", Status.UNKNOWN: "cyan", Status.WARNING: "yellow", Status.CRITICAL: "red"}


def overall(results: Iterable[Result]) -> Status:
    """The worst that was seen; unknown only when nothing else was."""
    statuses = [result.status for result in results]
    seen = [status for status in statuses if status is not Status.UNKNOWN]
    return worst(seen) if seen or not statuses else Status.UNKNOWN


def summary(results: Iterable[Result]) -> dict[str, int]:
    """How many checks came to which end."""
    statuses = [result.status for result in results]
    names = {"healthy": Status.HEALTHY, "warnings": Status.WARNING, "critical": Status.CRITICAL}
    counted = {name: statuses.count(status) for name, status in (names | {"unknown": Status.UNKNOWN}).items()}
    return {"total": len(statuses), **counted}


def document(results: list[Result], at: datetime) -> dict[str, Any]:
    """The contract of the cluster's monitor (facts section 10): status, timestamp, summary, details, issues."""
    return {
        "status": overall(results).value,
        "timestamp": at.isoformat(timespec="seconds"),
        "summary": summary(results),
        "details": {result.check: _details(result) for result in results},
        "issues": [_issue(issue) for issue in explain(results)],
    }


def _details(result: Result) -> dict[str, Any]:
    return {
        "title": result.title,
        "status": result.status.value,
        "seconds": result.seconds,
        "findings": [_finding(finding) for finding in result.findings],
    }


def _finding(finding: Finding) -> dict[str, str]:
    fields = ("subject", "seen", "expected", "config", "next")
    said = {name: getattr(finding, name) for name in fields if getattr(finding, name)}
    return {"status": finding.status.value, **said}


def _issue(issue: Issue) -> dict[str, Any]:
    explained = [{"check": each.check, **_finding(each.finding)} for each in issue]
    return {"check": issue.check, **_finding(issue.finding), "explains": explained}


def show(results: list[Result], *, with_notes: bool) -> None:
    """Print checks, causes with what follows from each, and what could not be seen."""
    width = max(len(result.check) for result in results)
    for result in results:
        colour = _COLOURS[result.status]
        OUT.print(f"[{colour}]{result.status.value:<8}[/]  {result.check:<{width}}  [dim]{escape(result.title)}[/]")
        if with_notes:
            for finding in result.findings:
                if finding.status is Status.HEALTHY:
                    OUT.print(f"          {escape(finding.subject)}: {escape(finding.seen)}")
    for number, issue in enumerate(explain(results), 1):
        _show_issue(number, issue)
    _show_unknown(results)
    counted = summary(results)
    OUT.print("\n" + ", ".join(f"{count} {name}" for name, count in counted.items() if name != "total"))


def _show_issue(number: int, issue: Issue) -> None:
    finding = issue.finding
    colour = _COLOURS[finding.status]
    OUT.print(
        f"\n{number}. [{colour}]{finding.status.value}[/]  [bold]{escape(finding.subject)}[/] {escape(finding.seen)}"
    )
    for name in ("expected", "config", "next"):
        if value := getattr(finding, name):
            OUT.print(f"   {name:<9} {escape(value)}")
    explained: Mapping[str, None] = dict.fromkeys(f"{each.finding.subject} {each.finding.seen}" for each in issue)
    for position, text in enumerate(explained):
        OUT.print(f"   {'explains' if position == 0 else '':<9} {escape(text)}")


def _show_unknown(results: list[Result]) -> None:
    """By reason and check: one cause often hides many things."""
    reasons: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        for finding in result.findings:
            if finding.status is Status.UNKNOWN:
                subjects = reasons[finding.seen][result.check]
                subjects += [finding.subject] if finding.subject != result.check else []
    if reasons:
        OUT.print("\nNot seen, and so not judged:")
    for reason, checks in reasons.items():
        shown = (f"{name} ({', '.join(subjects)})" if subjects else name for name, subjects in checks.items())
        OUT.print(f"   {escape(reason)}\n      [dim]{escape(', '.join(shown))}[/]")
