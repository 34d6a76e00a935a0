"""Holds: calls that wait for a person."""

import json as standard
from typing import Annotated

import typer

from config.cli import options, output
from config.cli.client import Client, Document
from config.cli.options import DryRun, Json, Limit, Workspace, Yes

app = typer.Typer(no_args_is_help=True, help="Calls that wait for a person.")
Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the hold, or its last characters.")]
Comment = Annotated[str, typer.Option("--comment", "-m", help="What you say about it.")]


@app.command("list")
def list_holds(
    state: Annotated[str, typer.Option(help="open, approved, rejected, … or all")] = "open",
    workspace: Workspace = None,
    limit: Limit = 50,
    json: Json = False,
) -> None:
    """List holds, the newest first."""
    client = Client()
    query = {"workspace": client.workspace(workspace), "state": None if state == "all" else state}
    rows = client.some("holds/", **query, limit=limit)
    shown = [
        (
            output.short(row["id"]),
            row["name"],
            f"{row['agent']} in {row['environment']}",
            output.word(row["state"]),
            "\n".join(row["codes"]),
            output.ago(row["expires_at"]),
        )
        for row in rows
    ]
    columns = ("id", "tool", "agent", "state", "why", "expires")
    output.show(rows, as_json=json, table=output.table("", columns, shown, empty="No call waits for a person."))


@app.command("show")
def show_hold(hold: Id, workspace: Workspace = None, json: Json = False) -> None:
    """Show a hold with the arguments exactly as they would be executed, and why a person is asked."""
    client = Client()
    row = _read(client, hold, workspace)
    output.show(row, as_json=json)
    if not json:
        _print(client, row, client.workspace(workspace))


@app.command("approve")
def approve_hold(
    hold: Id,
    comment: Comment = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Let the call run once, with the arguments that you see."""
    _decide("approvals", "approve", hold, comment, yes, dry_run, workspace, json)


@app.command("reject")
def reject_hold(
    hold: Id,
    comment: Comment = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Refuse the call."""
    _decide("rejections", "reject", hold, comment, yes, dry_run, workspace, json)


def _decide(
    noun: str, verb: str, hold: str, comment: str, yes: bool, dry_run: bool, workspace: str | None, json: bool
) -> None:
    client = Client()
    row = _read(client, hold, workspace)
    if not json and not yes:
        _print(client, row, client.workspace(workspace))
    if dry_run:
        output.show(row, as_json=json, table=f"Would {verb} {output.safe(row['name'])}, digest {row['digest'][:19]}.")
        return
    options.confirm(f"{verb.capitalize()} this call?", yes=yes)
    row = client.post(f"holds/{row['id']}/{noun}/", {"digest": row["digest"], "comment": comment})
    text = f"{output.safe(row['name'])}: {output.safe(row['state'])}."
    if row["state"] == "approved":
        text += " It runs when its caller, or the executor, asks again."
    output.show(row, as_json=json, table=text)


def _read(client: Client, reference: str, workspace: str | None) -> Document:
    return client.get(f"holds/{client.full_id(reference, 'holds/', workspace)}/")


def _print(client: Client, row: Document, workspace: str) -> None:
    console, names = output.out(), client.names(workspace)
    console.print(
        output.pairs(
            [
                ("hold", row["id"]),
                ("call", f"{row['name']} by {row['agent']} in {row['environment']}"),
                ("state", output.word(row["state"])),
                ("expires", output.when(row["expires_at"])),
                (
                    "needs",
                    "; ".join(f"{one['quorum']} by {one['role']} ({one['code']})" for one in row["requirements"]),
                ),
                ("on behalf of", names.get(row["on_behalf_of"], row["on_behalf_of"])),
                ("digest", row["digest"]),
                ("you", "may decide" if row["may_decide"] else "may not decide this one"),
                ("page", f"{client.url}/w/{workspace}/holds/{row['id']}/"),
            ]
        ),
        soft_wrap=True,
    )
    arguments = [(name, standard.dumps(value, ensure_ascii=False)) for name, value in (row["arguments"] or {}).items()]
    console.print()
    console.print(output.table("Would run with", ("argument", "value"), arguments, empty="No arguments."))
    reasons = [(one["code"], one["layer"], one["message"]) for one in row["reasons"]]
    console.print()
    console.print(output.table("Why a person is asked", ("code", "layer", "reason"), reasons, empty="No reason given."))
    verdicts = [(one["approver"], one["verdict"], output.ago(one["at"]), one["comment"]) for one in row["verdicts"]]
    if verdicts:
        console.print(output.table("Verdicts", ("who", "verdict", "when", "comment"), verdicts))
