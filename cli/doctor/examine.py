"""One examination of a stack: the checks with progress, and the place of each setting that they judge by."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from threading import Lock

from cli.console import progress
from cli.doctor.context import Context, Thresholds
from cli.doctor.findings import Result
from cli.doctor.registry import Check, run_checks
from cli.doctor.stack_lines import StackLines
from cli.program import Program


def examine(program: Program, checks: Sequence[Check], thresholds: Thresholds) -> tuple[list[Result], datetime]:
    """The results in the order of the checks, and when they began. Raises ConfigError and ProgramError."""
    context = Context(program, thresholds)
    with progress("reading the stack"):
        _ = context.settings
    waiting, lock = [check.name for check in checks], Lock()
    with progress(f"{len(checks)} checks, side by side") as tell:

        def done(result: Result) -> None:
            with lock:
                waiting.remove(result.check)
                tell(f"{len(checks) - len(waiting)} of {len(checks)} checks done, waiting for {', '.join(waiting)}")

        results = run_checks(checks, context, done)
    lines = StackLines.of(program)
    return [_placed(result, lines) for result in results], context.now


def _placed(result: Result, lines: StackLines) -> Result:
    findings = (
        replace(finding, config=lines.find(finding.config)) if finding.config else finding
        for finding in result.findings
    )
    return replace(result, findings=tuple(findings))
