"""`anton doctor` on the command line; what it imports takes longer than `--help` may, and comes when it runs."""

from typing import Annotated

import typer

from cli.console import FAILED, OUT, errors, print_json

EXIT = {"healthy": 0, "warning": 1, "critical": 2, "unknown": FAILED}


def doctor(
    context: typer.Context,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="CHECK", help="this check; may be repeated")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="list the checks and leave")] = False,
    cert_warning: Annotated[int, typer.Option(help="days before expiry that are a warning")] = 30,
    cert_critical: Annotated[int, typer.Option(help="days before expiry that are critical")] = 7,
    response_time: Annotated[int, typer.Option(help="milliseconds that a request may take")] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Whether the network works: nodes, Cilium, addresses, names, ingress, certificates, tunnel, tailnet, policies.

    Only reads. Exit status: 0 healthy, 1 warnings, 2 something critical (or wrong usage), 3 could not look. What can't
    be seen from here is unknown, never healthy.
    """
    from cli.doctor import report  # noqa: PLC0415
    from cli.doctor.checks import CHECKS  # noqa: PLC0415
    from cli.doctor.context import Thresholds  # noqa: PLC0415
    from cli.doctor.examine import examine  # noqa: PLC0415

    if list_:
        for check in CHECKS.values():
            OUT.print(f"{check.name:<20}{check.title} ({check.config})", markup=False)
        return
    strange = [name for name in only or () if name not in CHECKS]
    if strange:
        raise typer.BadParameter(f"no check {', '.join(strange)}; there are {', '.join(CHECKS)}")
    with errors():
        thresholds = Thresholds(cert_warning, cert_critical, response_time)
        results, at = examine(context.obj.program(), [CHECKS[name] for name in only or CHECKS], thresholds)
        if as_json:
            print_json(report.document(results, at))
        else:
            report.show(results, with_notes=bool(only))
        raise typer.Exit(EXIT[report.overall(results).value])
