"""What checks find, and which finding explains which."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Status(StrEnum):
    """Of a finding and of a check; a check that could not look is unknown, never healthy."""

    HEALTHY = "healthy"
    UNKNOWN = "unknown"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Higher is worse."""
        return list(Status).index(self)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is not as it should be, or that could not be seen.

    `subject` names the thing (`node k8s-2`). `config` is the key of the setting that it is judged by. `after` names
    the subjects that, when something is wrong with them, explain this finding, the likeliest first.
    """

    status: Status
    subject: str
    seen: str
    expected: str = ""
    config: str = ""
    next: str = ""
    after: tuple[str, ...] = ()


def critical(subject: str, seen: str, expected: str, *, config: str, next_: str, after: Iterable[str] = ()) -> Finding:
    """Something that does not work."""
    return _problem(Status.CRITICAL, subject, seen, expected, config, next_, after)


def warning(subject: str, seen: str, expected: str, *, config: str, next_: str, after: Iterable[str] = ()) -> Finding:
    """Something that works still, or with less than was asked for."""
    return _problem(Status.WARNING, subject, seen, expected, config, next_, after)


def unknown(subject: str, reason: str) -> Finding:
    """Something that can't be seen from here, with the reason."""
    return Finding(status=Status.UNKNOWN, subject=subject, seen=reason)


def note(subject: str, seen: str) -> Finding:
    """Something worth knowing that is as it should be."""
    return Finding(status=Status.HEALTHY, subject=subject, seen=seen)


def _problem(
    status: Status, subject: str, seen: str, expected: str, config: str, next_: str, after: Iterable[str]
) -> Finding:
    return Finding(
        status=status, subject=subject, seen=seen, expected=expected, config=config, next=next_, after=tuple(after)
    )


@dataclass(frozen=True)
class Result:
    """What one check found, and how long it took."""

    check: str
    title: str
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def status(self) -> Status:
        """The worst of its findings."""
        return worst(finding.status for finding in self.findings)


def worst(statuses: Iterable[Status]) -> Status:
    """The worst of them, healthy when there is none."""
    return max(statuses, key=lambda status: status.rank, default=Status.HEALTHY)


@dataclass
class Issue:
    """A problem with those that follow from it."""

    check: str
    finding: Finding
    consequences: list["Issue"] = field(default_factory=list)

    def __iter__(self) -> Iterator["Issue"]:
        """The consequences, theirs included, each once."""
        for issue in self.consequences:
            yield issue
            yield from issue


def explain(results: Iterable[Result]) -> list[Issue]:
    """The causes, worst first and then those that explain most, with everything else below its cause."""
    issues = [
        Issue(result.check, finding)
        for result in results
        for finding in result.findings
        if finding.status in {Status.WARNING, Status.CRITICAL}
    ]
    by_subject: dict[str, Issue] = {}
    for issue in sorted(issues, key=lambda issue: -issue.finding.status.rank):
        by_subject.setdefault(issue.finding.subject, issue)
    roots: list[Issue] = []
    for issue in issues:
        cause = _cause(issue, by_subject)
        (cause.consequences if cause else roots).append(issue)
    return sorted(roots, key=lambda issue: (-issue.finding.status.rank, -len(list(issue))))


def _cause(issue: Issue, by_subject: Mapping[str, Issue]) -> Issue | None:
    """What explains an issue directly; nothing that it explains itself, however far away."""
    for subject in issue.finding.after:
        cause = by_subject.get(subject)
        if cause and cause is not issue and not _explained_by(cause, issue, by_subject):
            return cause
    return None


def _explained_by(issue: Issue, possible_cause: Issue, by_subject: Mapping[str, Issue]) -> bool:
    seen: set[str] = set()
    waiting = [issue]
    while waiting:
        current = waiting.pop()
        for subject in current.finding.after:
            cause = by_subject.get(subject)
            if cause is possible_cause:
                return True
            if cause and subject not in seen:
                seen.add(subject)
                waiting.append(cause)
    return False
