"""What is live: look, activate, roll back; and stops."""

import time
from typing import Annotated, Any

import typer

from config.cli import options, output
from config.cli.client import Client, Document
from config.cli.failures import Exit, Failure, usage
from config.cli.options import DryRun, Environment, Json, Limit, Workspace, Yes
from config.cli.proposals import find_version

stops = typer.Typer(no_args_is_help=True, help="Kill switches: list, set and lift them.")
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not wait until it is live.")]
ACTIVE = ("queued", "running", "waiting")
PATIENCE = 120  # seconds
wait = time.sleep


def status(workspace: Workspace = None, json: Json = False) -> None:
    """Show what is live, and what waits for people."""
    client = Client()
    slug = client.workspace(workspace)
    live = [row for row in client.rows("slots/", workspace=slug) if row["digest"]]
    waiting = list(client.rows("proposals/", workspace=slug, state="open"))
    held = list(client.rows("holds/", workspace=slug, state="open"))
    stopped = [row for row in client.rows("stops/", workspace=slug) if not row["lifted_at"]]
    runs = [
        row for state in ("queued", "running", "waiting") for row in client.rows("runs/", workspace=slug, state=state)
    ]
    told = {
        "url": client.url,
        "workspace": slug,
        "live": live,
        "open_proposals": [row["id"] for row in waiting],
        "open_holds": [row["id"] for row in held],
        "active_runs": [row["id"] for row in runs],
        "stops": stopped,
    }
    if json:
        output.show(told, as_json=True)
        return
    console = output.out()
    rows = [
        (
            row["environment"] or "workspace",
            f"{row['kind']}/{row['name']}",
            output.digest(row["digest"]),
            output.ago(row["changed_at"]),
        )
        for row in sorted(live, key=lambda one: (one["environment"] or "", one["kind"], one["name"]))
    ]
    title = f"Live in {output.safe(slug)}"
    console.print(output.table(title, ("where", "artifact", "digest", "since"), rows, empty="Nothing is live."))
    counts = [
        (waiting, "open proposals", "proposals list"),
        (held, "held calls", "holds list"),
        (runs, "active runs", "runs list"),
    ]
    console.print()
    for found, words, command in counts:
        console.print(f"{words:<15} {len(found):>4}" + (f"  [dim]placet {command}[/dim]" if found else ""))
    for stop in stopped:
        target = f"{stop['scope']} {stop['target']}".strip()
        console.print(
            f"[red]stopped[/red]  {output.safe(target)}: {output.safe(stop['reason'])} ({output.short(stop['id'])})"
        )


def activate(
    proposal: Annotated[str, typer.Argument(metavar="PROPOSAL", help="Id of an approved proposal, or its end.")],
    no_wait: NoWait = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Make an approved version live. Exit 4 while approvals are missing."""
    client = Client()
    row = client.get(f"proposals/{client.full_id(proposal, 'proposals/', workspace)}/")
    version = row["version"]
    what = f"{version['kind']}/{version['name']} {version['number']} in {row['environment'] or 'the workspace'}"
    if dry_run:
        output.show(row, as_json=json, table=f"Would activate {output.safe(what)}; missing: {len(row['missing'])}.")
        return
    options.confirm(f"Activate {what}?", yes=yes)
    _finish(client, client.post("activations/", {"proposal": row["id"]}), what, no_wait, json)


def rollback(
    version: Annotated[str, typer.Argument(metavar="KIND/NAME@NUMBER", help="A version that was live there.")],
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why.")],
    environment: Environment = None,
    no_wait: NoWait = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Bring back a version that was live by agreement; needs no new approval."""
    if "@" not in version:
        raise usage("Say which version to bring back: KIND/NAME@NUMBER.", field="VERSION")
    client = Client()
    found = find_version(client, version, client.workspace(workspace))
    what = f"{version} in {environment or 'the workspace'}"
    if dry_run:
        output.show(found, as_json=json, table=f"Would bring back {output.safe(what)}.")
        return
    options.confirm(f"Bring back {what}?", yes=yes)
    body = {"kind": "rollback", "version": found["id"], "environment": environment, "reason": reason}
    _finish(client, client.post("activations/", body), what, no_wait, json)


@stops.command("list")
def list_stops(
    every: Annotated[bool, typer.Option("--all", help="Lifted ones, too.")] = False,
    workspace: Workspace = None,
    limit: Limit = 50,
    json: Json = False,
) -> None:
    """List stops, the newest first."""
    client = Client()
    found = client.some("stops/", limit=limit, workspace=client.workspace(workspace))
    rows = [row for row in found if every or not row["lifted_at"]]
    shown = [
        (
            output.short(row["id"]),
            f"{row['scope']} {row['target']}".strip(),
            output.word("lifted" if row["lifted_at"] else "stopped"),
            output.ago(row["at"]),
            row["reason"],
        )
        for row in rows
    ]
    table = output.table("", ("id", "what", "state", "since", "reason"), shown, empty="Nothing is stopped.")
    output.show(rows, as_json=json, table=table)


def stop(
    scope: Annotated[str, typer.Argument(metavar="SCOPE", help="workspace, agent or tool.")],
    target: Annotated[str, typer.Argument(metavar="NAME", help="Of the agent or the tool.")] = "",
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why.")] = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Refuse every further call of a workspace, an agent or a tool, at once."""
    client = Client()
    slug = client.workspace(workspace)
    what = f"{scope} {target or slug}"
    if dry_run:
        output.show(
            {"workspace": slug, "scope": scope, "target": target},
            as_json=json,
            table=f"Would stop {output.safe(what)}.",
        )
        return
    options.confirm(f"Stop {what}?", yes=yes)
    row = client.post("stops/", {"workspace": slug, "scope": scope, "target": target, "reason": reason})
    text = f"{output.safe(what)} is stopped. Lift it with: placet lift {output.short(row['id'])}"
    output.show(row, as_json=json, table=text)


def lift(
    stop: Annotated[str, typer.Argument(metavar="ID", help="Id of the stop, or its last characters.")],
    yes: Yes = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Lift a stop."""
    client = Client()
    pk = client.full_id(stop, "stops/", workspace)
    options.confirm(f"Lift the stop {output.short(pk)}?", yes=yes)
    client.delete(f"stops/{pk}/")
    output.show({"id": pk, "lifted": True}, as_json=json, table="The stop is lifted.")


stops.command("set")(stop)
stops.command("lift")(lift)


def _finish(client: Client, row: Document, what: str, no_wait: bool, json: bool) -> None:
    """Wait until an activation is live or failed, and say so."""
    left = 0.0 if no_wait else float(PATIENCE)
    with output.err().status(f"Activating {output.safe(what)}"):
        while row["state"] not in ("live", "failed") and left > 0:
            wait(0.5)
            left -= 0.5
            row = client.get(f"activations/{row['id']}/")
    told: dict[str, Any] = row
    output.show(told, as_json=json, table=f"{output.safe(what)}: {output.safe(row['state'])}.")
    if row["state"] == "failed":
        raise Failure(f"The activation failed: {row['failure']}", code="activation_failed")
    if row["state"] != "live":
        raise Failure("The activation is under way.", code="activation_pending", exit_code=Exit.PENDING)
