"""Options that many commands take, said once; and the question before a change."""

import sys
from typing import Annotated

import typer

from config.cli.failures import Exit, Failure, usage

JSON = "placet.json"


def _note(context: typer.Context, value: bool) -> bool:
    context.meta[JSON] = value  # an error is told in the same form
    return value


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.", callback=_note)]
Workspace = Annotated[
    str | None, typer.Option("--workspace", "-w", metavar="SLUG", help="Workspace; default: the usual or only one.")
]
Environment = Annotated[str | None, typer.Option("--environment", "-e", metavar="NAME", help="Environment.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many rows at most.")]


def confirm(question: str, *, yes: bool) -> None:
    """Ask before a change. :raises Failure: usage where nobody can be asked, error if the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise usage("Nobody can be asked here; say --yes.", field="--yes")
    if not typer.confirm(question, err=True):
        raise Failure("Nothing was changed.", code="declined", exit_code=Exit.ERROR)
