"""Proposals: list, look, open, approve, reject, withdraw."""

from typing import Annotated

import typer

from config.cli import options, output
from config.cli.client import Client, Document
from config.cli.failures import Exit, Failure, usage
from config.cli.options import DryRun, Environment, Json, Limit, Workspace, Yes

app = typer.Typer(no_args_is_help=True, help="Requests to approve a version for an environment.")
Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the proposal, or its last characters.")]
Comment = Annotated[str, typer.Option("--comment", "-m", help="What you say about it.")]
Digest = Annotated[
    str | None, typer.Option(metavar="SHA256", help="Digest that you reviewed; refused if it is another by now.")
]
STATES = "open, approved, rejected, withdrawn, expired or all"


@app.command("list")
def list_proposals(
    state: Annotated[str, typer.Option(help=STATES)] = "open",
    environment: Environment = None,
    workspace: Workspace = None,
    limit: Limit = 50,
    json: Json = False,
) -> None:
    """List proposals, the newest first."""
    client = Client()
    wanted = None if state == "all" else state
    query = {"workspace": client.workspace(workspace), "state": wanted, "environment": environment}
    rows = client.some("proposals/", **query, limit=limit)
    shown = [
        (
            output.short(row["id"]),
            _label(row["version"]),
            row["environment"] or "workspace",
            output.word(row["state"]),
            output.ago(row["opened_at"]),
            output.ago(row["expires_at"]) if row["state"] == "open" else "",
        )
        for row in rows
    ]
    columns = ("id", "version", "where", "state", "opened", "expires")
    output.show(rows, as_json=json, table=output.table("", columns, shown, empty="No proposal fits."))


@app.command("show")
def show_proposal(proposal: Id, workspace: Workspace = None, json: Json = False) -> None:
    """Show a proposal: what it is about, who agreed, and what is missing."""
    client = Client()
    row = _read(client, proposal, workspace)
    if json:
        output.show(row, as_json=True)
        return
    names = client.names(row["workspace"])
    console = output.out()
    console.print(
        output.pairs(
            [
                ("proposal", row["id"]),
                ("version", f"{_label(row['version'])}  {row['version']['digest']}"),
                ("where", f"{row['environment'] or 'the whole workspace'} of {row['workspace']}"),
                ("state", output.word(row["state"])),
                ("proposed", f"by {names.get(row['proposer'], row['proposer'])}, {output.when(row['opened_at'])}"),
                ("expires", output.when(row["expires_at"])),
                ("reason", row["reason"]),
                ("page", _page(client, row)),
            ]
        ),
        soft_wrap=True,
    )
    verdicts = [
        (one["username"], one["role"], _verdict(one), output.digest(one["digest"]), one["comment"])
        for one in row["approvals"]
    ]
    if verdicts:
        console.print()
        console.print(output.table("", ("who", "role", "verdict", "digest", "comment"), verdicts))
    console.print()
    for missing in row["missing"]:
        console.print(f"[yellow]missing[/yellow]  {output.safe(missing['detail'])}")
    if row["state"] == "approved" and not row["missing"]:
        console.print(
            f"Nothing is missing: [bold]placet activate {output.short(row['id'])}[/bold], or on the page if "
            f"{output.safe(row['environment'] or 'the charter')} is protected."
        )


@app.command("open")
def open_proposal(
    version: Annotated[str, typer.Argument(metavar="KIND/NAME[@NUMBER]", help="Version; default: the newest.")],
    environment: Environment = None,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why.")] = "",
    dry_run: DryRun = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Propose a version for an environment (a charter: without one)."""
    client = Client()
    found = find_version(client, version, client.workspace(workspace))
    if dry_run:
        where = environment or "the workspace"
        output.show(found, as_json=json, table=f"Would propose {output.safe(_label(found))} for {output.safe(where)}.")
        return
    row = client.post("proposals/", {"version": found["id"], "environment": environment, "reason": reason})
    output.show(row, as_json=json, table=f"{output.safe(_label(found))} waits for approval: {_page(client, row)}")


def approve(
    proposal: Id,
    comment: Comment = "",
    role: Annotated[str | None, typer.Option(help="In which of your roles; default: the one that is missing.")] = None,
    digest: Digest = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Approve a proposal: bound to the digest that you see, never your own work."""
    _decide("approve", proposal, comment, role, digest, yes, dry_run, workspace, json)


@app.command("reject")
def reject(
    proposal: Id,
    comment: Annotated[str, typer.Option("--comment", "-m", help="What has to change.")],
    digest: Digest = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Reject a proposal, for good, and say what has to change."""
    _decide("reject", proposal, comment, None, digest, yes, dry_run, workspace, json)


@app.command("withdraw")
def withdraw(proposal: Id, yes: Yes = False, workspace: Workspace = None, json: Json = False) -> None:
    """Take back a proposal of yours."""
    client = Client()
    row = _read(client, proposal, workspace)
    options.confirm(f"Withdraw the proposal of {_label(row['version'])}?", yes=yes)
    row = client.post(f"proposals/{row['id']}/withdrawal/", {})
    output.show(row, as_json=json, table=f"The proposal of {output.safe(_label(row['version']))} is withdrawn.")


app.command("approve")(approve)


def find_version(client: Client, reference: str, workspace: str) -> Document:
    """Return the version that `kind/name`, or `kind/name@number`, means."""
    named, _, number = reference.partition("@")
    kind, slash, name = named.partition("/")
    if not slash or (number and not number.isdigit()):
        raise usage(f"{reference!r} is no version; give KIND/NAME or KIND/NAME@NUMBER.", field="VERSION")
    for row in client.rows("versions/", workspace=workspace, kind=kind, name=name):
        if not number or row["number"] == int(number):
            return row
    raise Failure(f"The workspace has no version {reference}.", code="not_found", field="VERSION")


def _decide(
    verdict: str,
    proposal: str,
    comment: str,
    role: str | None,
    digest: str | None,
    yes: bool,
    dry_run: bool,
    workspace: str | None,
    json: bool,
) -> None:
    client = Client()
    row = _read(client, proposal, workspace)
    seen = row["version"]["digest"]
    if digest is not None and digest != seen:
        detail = f"The proposal is about {seen}, not about {digest}."
        raise Failure(detail, code="digest_mismatch", exit_code=Exit.PENDING, field="--digest")
    where = row["environment"] or "the whole workspace"
    what = f"{verdict} {_label(row['version'])} ({seen[:19]}…) for {where}"
    if dry_run:
        output.show(row, as_json=json, table=f"Would {output.safe(what)}.")
        return
    options.confirm(f"{what.capitalize()}?", yes=yes)
    body = {"verdict": verdict, "comment": comment, "role": role}
    given = client.post(f"proposals/{row['id']}/approvals/", body, **{"If-Match": f'"{seen}"'})
    row = client.get(f"proposals/{row['id']}/")
    told = {"proposal": row["id"], "state": row["state"], "given": given["results"], "missing": row["missing"]}
    lines = [f"{one['verdict']} {output.digest(one['digest'])} as {one['role']}" for one in given["results"]]
    lines += [f"[yellow]missing[/yellow]  {output.safe(one['detail'])}" for one in row["missing"]]
    if row["state"] == "approved" and not row["missing"]:
        lines.append(f"The proposal is approved: [bold]placet activate {output.short(row['id'])}[/bold]")
    output.show(told, as_json=json, table="\n".join(lines))


def _read(client: Client, reference: str, workspace: str | None) -> Document:
    return client.get(f"proposals/{client.full_id(reference, 'proposals/', workspace)}/")


def _label(version: Document) -> str:
    return f"{version['kind']}/{version['name']} {version['number']}"


def _verdict(one: Document) -> str:
    return f"{one['verdict']} (withdrawn)" if one["withdrawn_at"] else str(one["verdict"])


def _page(client: Client, row: Document) -> str:
    return output.safe(f"{client.url}/w/{row['workspace']}/proposals/{row['id']}/")
