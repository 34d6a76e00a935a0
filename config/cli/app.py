"""The command line as a whole: which commands there are, and how a failure ends one."""

import os
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from config.cli import access, api, calls, holds, live, local, manifests, output, proposals, runs, trail
from config.cli.client import checked
from config.cli.failures import Failure
from config.cli.options import JSON

VERSION = "0.1.0"


class Commands(TyperGroup):
    """Runs a command and turns its failure into words on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Failure as failure:
            output.fail(failure, as_json=bool(ctx.meta.get(JSON)))
            raise typer.Exit(failure.exit_code) from failure


app = typer.Typer(
    cls=Commands,
    name="placet",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Propose, approve and run governed agents. Exit codes: 0 done, 1 error, 2 wrong usage, 3 denied, 4 moved or "
    "pending.",
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"placet {VERSION}")
        raise typer.Exit


@app.callback()
def root(
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Server; default: PLACET_URL, or the last login.")
    ] = None,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Take what holds for every command."""
    if url:
        os.environ["PLACET_URL"] = checked(url)


START, REVIEW, RUN, LOOK = "Start", "Propose and agree", "Run and stop", "Look and prove"
for function, panel in (
    (access.login, START), (access.logout, START), (access.whoami, START), (local.up, START), (local.init, START),
    (manifests.plan, REVIEW), (manifests.apply, REVIEW), (manifests.export, REVIEW), (proposals.approve, REVIEW),
    (live.activate, REVIEW), (live.rollback, REVIEW), (live.stop, RUN), (live.lift, RUN), (live.status, LOOK),
    (trail.verify, LOOK), (api.api, LOOK),
):  # fmt: skip
    app.command(rich_help_panel=panel)(function)
for group, name, panel in (
    (access.tokens, "tokens", START), (proposals.app, "proposals", REVIEW), (holds.app, "holds", REVIEW),
    (runs.app, "runs", RUN), (live.stops, "stops", RUN), (calls.app, "calls", LOOK), (trail.app, "trail", LOOK),
):  # fmt: skip
    app.add_typer(group, name=name, rich_help_panel=panel)
