"""Calls: what agents asked for, and why it was allowed, held or denied."""

import json as standard
from typing import Annotated

import typer

from config.cli import output
from config.cli.client import Client
from config.cli.options import Environment, Json, Limit, Workspace

app = typer.Typer(no_args_is_help=True, help="What agents asked for, and what became of it.")


@app.command("list")
def list_calls(
    state: Annotated[str | None, typer.Option(help="finished, denied, parked, failed, unknown, …")] = None,
    agent: Annotated[str | None, typer.Option("--agent", "-a", help="Only this agent's.")] = None,
    name: Annotated[str | None, typer.Option(help="Only calls of this tool or model.")] = None,
    environment: Environment = None,
    workspace: Workspace = None,
    limit: Limit = 50,
    json: Json = False,
) -> None:
    """List calls, the newest first."""
    client = Client()
    query = {"state": state, "agent": agent, "name": name, "environment": environment}
    rows = client.some("tool-calls/", limit=limit, workspace=client.workspace(workspace), **query)
    shown = [
        (
            output.short(row["id"]),
            row["name"],
            f"{row['agent']} in {row['environment']}",
            output.word(row["state"]),
            row["code"],
            output.ago(row["opened_at"]),
        )
        for row in rows
    ]
    columns = ("id", "tool", "agent", "state", "code", "when")
    output.show(rows, as_json=json, table=output.table("", columns, shown, empty="No call fits."))


@app.command("show")
def show_call(
    call: Annotated[str, typer.Argument(metavar="ID", help="Id of the call, or its last characters.")],
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Show a call: arguments as executed, reasons, result."""
    client = Client()
    row = client.get(f"tool-calls/{client.full_id(call, 'tool-calls/', workspace)}/")
    output.show(row, as_json=json)
    if json:
        return
    outcome = row["outcome"] or {}
    console = output.out()
    console.print(
        output.pairs(
            [
                ("call", row["id"]),
                ("tool", f"{row['name']} by {row['agent']} in {row['environment']}"),
                ("state", output.word(row["state"])),
                ("code", row["code"]),
                ("message", outcome.get("message")),
                ("labels", ", ".join(outcome.get("labels", []))),
                ("asked", output.when(row["opened_at"])),
                ("ended", output.when(row["finished_at"])),
                ("decision", f"record {row['decided_record']}" if row["decided_record"] else ""),
                ("page", f"{client.url}/w/{client.workspace(workspace)}/calls/{row['id']}/"),
            ]
        ),
        soft_wrap=True,
    )
    arguments = [(name, standard.dumps(value, ensure_ascii=False)) for name, value in (row["arguments"] or {}).items()]
    console.print()
    console.print(output.table("Arguments", ("argument", "value"), arguments, empty="No arguments."))
    reasons = [(one["code"], one["layer"], one["message"]) for one in outcome.get("reasons", [])]
    if reasons:
        console.print()
        console.print(output.table("Reasons", ("code", "layer", "reason"), reasons))
    if outcome.get("result") is not None:
        console.print("\n[bold]Result[/bold]")
        console.print(output.safe(standard.dumps(outcome["result"], indent=2, ensure_ascii=False)), soft_wrap=True)
