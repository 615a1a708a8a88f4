"""The command line `./anton`; one module a subcommand."""

from dataclasses import dataclass
from typing import Annotated

import typer

from cli.adopt.command import import_
from cli.diff.command import diff
from cli.doctor.command import doctor
from cli.program import Program
from cli.reach.command import reach
from cli.topology.command import topology

app = typer.Typer(
    name="anton",
    help="See what a change of the network does before it is made, and whether the network works after. Reads only.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@dataclass(frozen=True)
class Options:
    """What all subcommands take."""

    stack: str
    local: bool

    def program(self) -> Program:
        """The chosen stack."""
        return Program.open(self.stack, local=self.local)


@app.callback()
def common(
    context: typer.Context,
    stack: Annotated[
        str, typer.Option("--stack", "-s", help="stack, as Pulumi takes it", envvar="PULUMI_STACK")
    ] = "prod",
    local: Annotated[
        bool, typer.Option("--local", help="the state behind `make preview` instead of your own login and backend")
    ] = False,
) -> None:
    """Options before the subcommand."""
    context.obj = Options(stack, local)


app.command()(diff)
app.command()(doctor)
app.command()(reach)
app.command()(topology)
app.command("import")(import_)


if __name__ == "__main__":
    app(prog_name="./anton")
