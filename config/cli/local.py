"""What works on this machine, on its own installation: start it, found a workspace."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from config.cli.failures import Exit, Failure

MANAGE = Path(__file__).resolve().parents[2] / "manage.py"


def up() -> None:
    """Start Placet here, in the foreground; Ctrl-C stops it."""
    os.execv(sys.executable, [sys.executable, str(MANAGE), "up"])  # noqa: S606 - our own command, no shell


def init(
    slug: Annotated[str, typer.Argument(metavar="SLUG", help="Short name of the workspace, as in its address.")],
    admin: Annotated[str, typer.Option(metavar="USERNAME", help="The first admin.")],
    name: Annotated[str, typer.Option(help="Name to show; default: the short name.")] = "",
    member: Annotated[
        list[str] | None, typer.Option(metavar="USERNAME=ROLE", help="A founding grant (repeatable).")
    ] = None,
) -> None:
    """Found a workspace on this installation. Its first charter is recorded as unreviewed."""
    command = [sys.executable, str(MANAGE), "init", slug, "--admin", admin, "--name", name]
    command += [part for pair in member or [] for part in ("--member", pair)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        words = done.stderr.strip().splitlines()
        raise Failure(words[-1] if words else "It failed.", code="init_failed", exit_code=Exit.ERROR)
    typer.echo(done.stdout.strip())
