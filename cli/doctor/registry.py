"""The checks by name, and how they run: side by side, each for itself."""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cli.cluster import ClusterError
from cli.doctor.context import Context, UnseenError
from cli.doctor.findings import Finding, Result, unknown
from cli.doctor.probes import ProbeError
from cli.edge_accounts import AccountError
from cli.program import ProgramError
from cli.verdicts import InputError

Run = Callable[[Context], Iterator[Finding]]

UNSEEN = (UnseenError, ClusterError, AccountError, ProgramError, ProbeError, InputError)
"""What keeps a check from looking."""


@dataclass(frozen=True)
class Check:
    """One check: its name on the command line, what it looks at, and the group of settings that it judges by."""

    name: str
    title: str
    config: str
    run: Run


REGISTERED: list[Check] = []
"""Those of the modules imported so far; `checks` has them all."""


def check(name: str, title: str, config: str) -> Callable[[Run], Run]:
    """Register a check."""

    def register(run: Run) -> Run:
        REGISTERED.append(Check(name, title, config, run))
        return run

    return register


def run_checks(checks: Iterable[Check], context: Context, done: Callable[[Result], None]) -> list[Result]:
    """The results in the order of the checks; `done` hears of each as it comes, from whichever thread."""
    known = list(checks)

    def one(each: Check) -> Result:
        result = _run(each, context)
        done(result)
        return result

    with ThreadPoolExecutor(max(len(known), 1)) as pool:
        return list(pool.map(one, known))


def _run(each: Check, context: Context) -> Result:
    """Its findings, and what kept it from finding more as unknown."""
    began = time.monotonic()
    findings: list[Finding] = []
    try:
        for finding in each.run(context):
            findings.append(finding)  # noqa: PERF402 - those before an exception count
    except UNSEEN as error:
        findings.append(unknown(each.name, str(error)))
    except Exception as error:  # an object that nobody foresaw must not hide what other checks find
        findings.append(unknown(each.name, f"a defect of this check: {type(error).__name__}: {error}"))
    return Result(each.name, each.title, tuple(findings), round(time.monotonic() - began, 3))
