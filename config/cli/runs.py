"""Runs: tasks that agents work on."""

import json as standard
import secrets
import time
from typing import Annotated, Any

import typer

from config.cli import options, output
from config.cli.client import Client, Document
from config.cli.failures import Exit, Failure, usage
from config.cli.options import Environment, Json, Limit, Workspace, Yes

app = typer.Typer(no_args_is_help=True, help="Tasks that agents work on.")
Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the run, or its last characters.")]
wait = time.sleep


@app.command("list")
def list_runs(
    state: Annotated[str | None, typer.Option(help="queued, running, waiting, succeeded, failed, …")] = None,
    agent: Annotated[str | None, typer.Option("--agent", "-a", help="Only this agent's.")] = None,
    environment: Environment = None,
    workspace: Workspace = None,
    limit: Limit = 50,
    json: Json = False,
) -> None:
    """List runs, the newest first."""
    client = Client()
    query = {"workspace": client.workspace(workspace), "state": state, "agent": agent, "environment": environment}
    rows = client.some("runs/", **query, limit=limit)
    shown = [
        (
            output.short(row["id"]),
            f"{row['agent']} in {row['environment']}",
            output.word(_state(row)),
            row["code"],
            output.ago(row["created_at"]),
            output.ago(row["finished_at"]),
        )
        for row in rows
    ]
    columns = ("id", "agent", "state", "code", "begun", "ended")
    output.show(rows, as_json=json, table=output.table("", columns, shown, empty="No run fits."))


@app.command("show")
def show_run(run: Id, workspace: Workspace = None, json: Json = False) -> None:
    """Show a run with its steps."""
    client = Client()
    row = _read(client, run, workspace)
    output.show(row, as_json=json)
    if not json:
        _print(client, row, client.workspace(workspace))


@app.command("start")
def start_run(
    goal: Annotated[str, typer.Argument(metavar="GOAL", help="What the agent is to do.")],
    agent: Annotated[str, typer.Option("--agent", "-a", help="Name of the agent.")],
    environment: Annotated[str, typer.Option("--environment", "-e", metavar="NAME", help="Where it runs.")],
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", metavar="NAME=VALUE", help="Variable of its prompt; JSON or text."),
    ] = None,
    on_behalf_of: Annotated[str | None, typer.Option(help="For whom.")] = None,
    key: Annotated[str | None, typer.Option(help="Idempotency key: the same starts nothing twice.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow it until it ends or waits for a person.")] = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Give an agent a task."""
    client = Client()
    slug = client.workspace(workspace)
    body: dict[str, Any] = {"workspace": slug, "environment": environment, "agent": agent, "goal": goal}
    body["inputs"] = dict(_input(pair) for pair in inputs or [])
    if on_behalf_of:
        body["on_behalf_of"] = on_behalf_of
    row = client.post("runs/", body, **{"Idempotency-Key": key or secrets.token_hex(16)})
    if not watch:
        output.show(row, as_json=json, table=f"Run {row['id']} is {row['state']}: {_page(client, row, slug)}")
        return
    _follow(client, row, slug, as_json=json)


@app.command("watch")
def watch_run(run: Id, workspace: Workspace = None, json: Json = False) -> None:
    """Follow a run until it ends (exit 0, 1 or 3) or waits for a person (exit 4)."""
    client = Client()
    _follow(client, _read(client, run, workspace), client.workspace(workspace), as_json=json)


@app.command("cancel")
def cancel_run(run: Id, yes: Yes = False, workspace: Workspace = None, json: Json = False) -> None:
    """End a run before its time; says what cannot be taken back."""
    client = Client()
    row = _read(client, run, workspace)
    options.confirm(f"Cancel run {row['id']} of {row['agent']}?", yes=yes)
    row = client.post(f"runs/{row['id']}/cancellations/", {})
    lines = [f"Run {row['id']}: {output.safe(_state(row))}."]
    lines += [f"[yellow]not undone[/yellow]  {output.safe(one)}" for one in row["not_undone"]]
    output.show(row, as_json=json, table="\n".join(lines))


def _follow(client: Client, row: Document, workspace: str, *, as_json: bool) -> None:
    told: dict[int, str] = {}
    console = output.err()  # one for both, so that a line does not run into what turns
    with console.status(f"Run {output.short(row['id'])}") as status:
        while True:
            for step in row["steps"]:
                state = f"{step['state']} {step['code']}".strip()
                if told.get(step["no"]) != state:
                    told[step["no"]] = state
                    console.print(f"  {step['no']:>3}  {output.safe(step['name'])}  {output.safe(state)}")
            if row["finished_at"] or (row["state"] == "waiting" and row["wait"] == "hold"):
                break
            status.update(f"Run {output.short(row['id'])}: {output.safe(_state(row))}")
            wait(1)
            row = client.get(f"runs/{row['id']}/")
    output.show(row, as_json=as_json)
    if not as_json:
        _print(client, row, workspace)
    if not row["finished_at"]:
        hold = next((step["hold"] for step in row["steps"] if step["state"] != "done" and step["hold"]), None)
        remedy = f"placet holds show {output.short(hold)}" if hold else "placet holds list"
        raise Failure("The run waits for a person.", code="hold_open", exit_code=Exit.PENDING, remedy=remedy)
    if row["state"] != "succeeded":
        exit_code = Exit.DENIED if row["code"] in ("denied", "call_denied") else Exit.ERROR
        raise Failure(
            row["message"] or f"The run {row['state']}.", code=row["code"] or row["state"], exit_code=exit_code
        )


def _print(client: Client, row: Document, workspace: str) -> None:
    console = output.out()
    console.print(
        output.pairs(
            [
                ("run", row["id"]),
                ("agent", f"{row['agent']} in {row['environment']}"),
                ("state", output.word(_state(row))),
                ("code", f"{row['code']}: {row['message']}" if row["code"] else ""),
                ("goal", row["goal"]),
                ("answer", row["answer"]),
                ("begun", output.when(row["created_at"])),
                ("ended", output.when(row["finished_at"])),
                ("page", _page(client, row, workspace)),
            ]
        ),
        soft_wrap=True,
    )
    steps = [
        (step["no"], step["kind"], step["name"], output.word(step["state"]), step["code"], output.short(step["hold"]))
        for step in row["steps"]
    ]
    console.print()
    console.print(output.table("", ("#", "kind", "name", "state", "code", "hold"), steps, empty="No step yet."))


def _read(client: Client, reference: str, workspace: str | None) -> Document:
    return client.get(f"runs/{client.full_id(reference, 'runs/', workspace)}/")


def _state(row: Document) -> str:
    return f"waiting: {row['wait']}" if row["state"] == "waiting" and row["wait"] else str(row["state"])


def _input(pair: str) -> tuple[str, Any]:
    name, equals, text = pair.partition("=")
    if not equals or not name:
        raise usage(f"{pair!r} is no input; give NAME=VALUE.", field="--input")
    try:
        return name, standard.loads(text)
    except ValueError:
        return name, text


def _page(client: Client, row: Document, workspace: str) -> str:
    return f"{client.url}/w/{workspace}/runs/{row['id']}/"
