"""The trail: look, fetch, and verify offline."""

import contextlib
import io
from pathlib import Path
from typing import Annotated, Any

import typer

from audit import verify as verifier
from config.cli import output
from config.cli.client import Client
from config.cli.failures import Exit, Failure
from config.cli.options import Json, Limit, Workspace

app = typer.Typer(no_args_is_help=True, help="The audit trail: look, fetch, verify.")


@app.command("list")
def list_records(
    event: Annotated[str | None, typer.Option(help="Only this event.")] = None,
    workspace: Workspace = None,
    limit: Limit = 50,
    json: Json = False,
) -> None:
    """List records, the newest first."""
    client = Client()
    slug = client.workspace(workspace)
    rows = client.some("records/", workspace=slug, event=event, limit=limit)
    if json:
        output.show(rows, as_json=True)
        return
    names = client.names(slug)
    shown = [
        (
            row["index"] if row["index"] is not None else "…",
            output.ago(row["at"]),
            row["event"],
            names.get(row["actor"], row["actor"]),
            " ".join(f"{name}={str(value)[-8:]}" for name, value in row["subjects"].items()),
        )
        for row in rows
    ]
    output.show(rows, as_json=False, table=output.table("", ("#", "when", "event", "who", "about"), shown))


@app.command("export")
def export_trail(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write the export (NDJSON).")],
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Fetch the whole trail under its newest checkpoint, for `placet verify`."""
    client = Client()
    slug = client.workspace(workspace)
    made = client.post("exports/", {"workspace": slug})
    size = 0
    aside = file.with_name(f"{file.name}.part")
    try:
        with aside.open("wb") as target, output.progress("Fetching (kB)") as bar:
            task = bar.add_task("", total=None, now="")
            for chunk in client.stream(f"exports/{made['id']}/content/"):
                target.write(chunk)
                size += len(chunk)
                bar.update(task, completed=size // 1000)
        aside.replace(file)
    except OSError as error:
        raise Failure(f"{file} cannot be written: {error.strerror}.", code="file_unwritable", field="FILE") from error
    finally:
        aside.unlink(missing_ok=True)
    told = made | {"file": str(file), "bytes": size}
    output.show(told, as_json=json, table=f"{size} bytes written to {output.safe(file)}.")


@app.command("checkpoint")
def checkpoint(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="Where to keep it; default: print it.")] = None,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Fetch the newest signed checkpoint. Keep it somewhere else: it proves later that nothing was cut off."""
    client = Client()
    note = client.text(f"log/{client.workspace(workspace)}/checkpoint")
    if file is not None:
        try:
            file.write_text(note)
        except OSError as error:
            detail = f"{file} cannot be written: {error.strerror}."
            raise Failure(detail, code="file_unwritable", field="FILE") from error
    told = {"checkpoint": note, "file": str(file) if file else None}
    output.show(told, as_json=json, table=f"Kept in {output.safe(file)}." if file else output.safe(note.rstrip()))


def verify(
    export: Annotated[Path, typer.Argument(metavar="EXPORT", help="An export of the trail.")],
    key: Annotated[list[str], typer.Option(help="Public key, or a file of them, got by a way you trust (repeatable).")],
    checkpoint: Annotated[list[str] | None, typer.Option(help="Checkpoint that you kept (repeatable).")] = None,
    receipt: Annotated[list[str] | None, typer.Option(help="Receipt that you kept, or its file (repeatable).")] = None,
    values: Annotated[Path | None, typer.Option(help="Values that were handed over beside the export.")] = None,
    json: Json = False,
) -> None:
    """Verify an export offline. Exit 1: NOT verified; 4: sound, but nothing you hold proves that it is complete."""
    arguments = [str(export)]
    for name, given in (("--key", key), ("--checkpoint", checkpoint), ("--receipt", receipt)):
        arguments += [part for value in given or [] for part in (name, value)]
    arguments += ["--values", str(values)] if values else []
    said, wrong = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(wrong):
        result = verifier.main(arguments)
    told: dict[str, Any] = {"verified": result in (0, 3), "complete": result == 0, "report": said.getvalue().strip()}
    if result == 2:
        raise Failure(wrong.getvalue().strip(), code="unusable", exit_code=Exit.USAGE)
    output.show(told, as_json=json, table=output.safe(told["report"]))
    if result:
        raise typer.Exit(Exit.PENDING if result == 3 else Exit.ERROR)
