"""GitOps: plan what manifests would change, apply it, and write a workspace as manifests."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from audit.refusal import Refusal
from config.cli import options, output, planfile
from config.cli.client import Client, Document
from config.cli.failures import Exit, Failure, usage
from config.cli.options import DryRun, Json, Workspace, Yes
from registry.manifests import files

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="Directory with the manifests.")]
Propose = Annotated[
    str | None,
    typer.Option("--environment", "-e", metavar="NAME", help="Propose there what is not live yet; else only store."),
]
FEW = 6


def plan(
    directory: Directory,
    environment: Propose = None,
    output_file: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the plan, for `placet apply FILE`.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit 4 if applying would change something.")] = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Show what applying manifests would change, how risky it is, and who would have to agree. Changes nothing."""
    made = _plan(Client(), directory, environment, workspace)
    if output_file is not None:
        planfile.write(made, output_file)
    _show(made, as_json=json)
    if output_file is not None and not any(one["failing"] for one in made["manifests"]):
        output.say(f"Written to {output.safe(output_file)}; apply it with: placet apply {output.safe(output_file)}")
    _end(made)
    if check and _changing(made):
        raise typer.Exit(Exit.PENDING)


def apply(
    source: Annotated[Path, typer.Argument(metavar="DIR|PLAN", help="Directory with manifests, or a plan's file.")],
    environment: Propose = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Store new versions and open the proposals that they need; refuse (exit 4) if what was planned against moved."""
    client = Client()
    if source.is_dir():
        made = _plan(client, source, environment, workspace)
    elif environment or workspace:
        raise usage("A plan says its environment and workspace itself; leave the options out.", field="SOURCE")
    else:
        made = planfile.read(source, url=client.url)
    if dry_run:
        _show(made, as_json=json)
        _end(made)
        return
    if not json:
        _show(made, as_json=False)
    if _changing(made):
        options.confirm(f"Apply to {made['workspace']} on {client.url}?", yes=yes)
    applied = _apply(client, made)
    output.show(applied, as_json=json, table=_results(client, made, applied))
    _end(made)


def export(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write; other files stay.")],
    kind: Annotated[str | None, typer.Option(help="Only artifacts of this kind.")] = None,
    dry_run: DryRun = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Write the newest version of each artifact as a manifest; applying them again changes nothing."""
    client = Client()
    slug = client.workspace(workspace)
    written: list[Document] = []
    with output.progress("Writing") as bar:
        task = bar.add_task("", total=None, now="")
        for row in client.rows("manifests/", workspace=slug, kind=kind):
            told = {"kind": row["kind"], "name": row["name"], "number": row["number"], "digest": row["digest"]}
            path = files.place(directory, row["kind"], row["name"])
            if not dry_run:
                try:
                    content = row["spec"]
                    path = files.write(directory, workspace=slug, kind=row["kind"], name=row["name"], content=content)
                except Refusal as refusal:
                    raise Failure(refusal.detail, code=refusal.code) from refusal
                except OSError as error:
                    detail = f"{path} cannot be written: {error.strerror}."
                    raise Failure(detail, code="file_unwritable", field="DIR") from error
            written.append(told | {"path": str(path)})
            bar.update(task, advance=1, now=output.safe(row["name"]))
    written.sort(key=lambda one: one["path"])
    rows = [(one["kind"], one["name"], one["number"], one["path"]) for one in written]
    title = f"{len(rows)} manifests {'would be ' if dry_run else ''}written"
    table = output.table(title, ("kind", "name", "#", "file"), rows, empty="The workspace has no artifact.")
    output.show(written, as_json=json, table=table)


def _plan(client: Client, directory: Path, environment: str | None, workspace: str | None) -> Document:
    slug = client.workspace(workspace)
    request = planfile.asked(planfile.manifests_of(directory, slug), slug, environment)
    with output.err().status(f"Planning {len(request['manifests'])} manifests"):
        answer = client.post("plans/", request)
    return planfile.build(client.url, datetime.now(UTC).isoformat(timespec="seconds"), request, answer)


def _apply(client: Client, made: Document) -> list[Document]:
    applied: list[Document] = []
    with output.progress("Applying") as bar:
        task = bar.add_task("", total=len(made["manifests"]), now="")
        for one in made["manifests"]:
            bar.update(task, now=output.safe(f"{one['kind']}/{one['name']}"))
            try:
                applied.append(client.post("manifests/", planfile.to_send(made, one)))
            except Failure:
                if applied:
                    output.say(f"{len(applied)} of {len(made['manifests'])} manifests were applied before this:")
                raise
            bar.advance(task)
    return applied


def _changing(made: Document) -> bool:
    return any(one["number"] is None or one["propose"] for one in made["manifests"])


def _end(made: Document) -> None:
    """End with an error if a check fails: such a version can never be approved."""
    failing = [one for one in made["manifests"] if one["failing"]]
    if failing:
        names = ", ".join(
            f"{one['source']} ({', '.join(check['name'] for check in one['failing'])})" for one in failing
        )
        remedy = "Mend them; the output of each check is above, and in --json."
        raise Failure(f"Admission checks fail: {names}.", code="check_failed", remedy=remedy)


def _show(made: Document, *, as_json: bool) -> None:
    if as_json:
        output.show({name: value for name, value in made.items() if name != "format"}, as_json=True)
        return
    where = f" for {made['environment']}" if made["environment"] else ", proposing nothing (no --environment)"
    console = output.out()
    rows = [
        (
            Text("=", "dim") if one["number"] is not None else Text("+" if not one["base"] else "~", "green"),
            f"{one['kind']}/{one['name']}",
            _numbers(one),
            output.word(one["risk"]) if one["kind"] in ("tool", "agent") else "",
            _differences(one),
        )
        for one in made["manifests"]
    ]
    title = output.safe(f"Plan for {made['workspace']}{where}")
    console.print(output.table(title, ("", "artifact", "version", "risk", "difference"), rows))
    for one in made["manifests"]:
        for check in one["failing"]:
            console.print(f"\n[red]{output.safe(one['source'])}: the check {output.safe(check['name'])} fails[/red]")
            console.print(output.safe(check["output"]), soft_wrap=True)
        if one["unmapped"]:
            source, strangers = output.safe(one["source"]), output.safe(", ".join(one["unmapped"]))
            console.print(
                f"\n[yellow]{source}: nobody knows {strangers}[/yellow], who committed to it; approval waits until an "
                "admin says who that is."
            )
    _show_proposals(made)


def _show_proposals(made: Document) -> None:
    console = output.out()
    for one in made["manifests"]:
        label = output.safe(f"{one['kind']}/{one['name']}")
        if one["propose"] or one["proposal"]:
            asked = Counter((need["approvals"], tuple(need["roles"])) for need in one["needs"])
            needs = [f"{count} by {' and '.join(roles)}" for count, roles in asked]
            state = "to be proposed" if one["propose"] else f"proposed already ({output.short(one['proposal'])})"
            console.print(f"\n[bold]{label}[/bold] {state}; needs approvals: {output.safe('; '.join(needs) or 'none')}")
    new = sum(one["number"] is None for one in made["manifests"])
    proposals = sum(one["propose"] for one in made["manifests"])
    same = len(made["manifests"]) - new
    console.print(f"\n{new} new, {same} unchanged, {proposals} to propose.")


def _numbers(one: Document) -> str:
    if one["number"] is not None:
        return f"{one['number']}"
    return f"{one['base']['number']} → new" if one["base"] else "new"


def _differences(one: Document) -> str:
    if one["number"] is not None and (not one["live"] or one["live"]["digest"] == one["digest"]):
        return ""
    if not one["base"] and not one["live"]:
        return "first version"
    told = [_change(change) for change in one["changes"][:FEW]]
    more = len(one["changes"]) + one["more_changes"] - len(told)
    against = f"against {one['live']['number']}, live: " if one["live"] else ""
    return against + "\n".join(told + ([f"and {more} more"] if more else []))


def _change(change: Document) -> str:
    sign = {"added": "+", "removed": "-", "changed": "~"}[change["how"]]
    lines = f" (+{change['added']} -{change['removed']} lines)" if change["added"] or change["removed"] else ""
    return f"{sign} {change['path']}{lines}"


def _results(client: Client, made: Document, applied: list[Document]) -> str:
    new = sum(one["created"] for one in applied)
    lines = [f"[bold]{new} new[/bold], {len(applied) - new} unchanged in {output.safe(made['workspace'])}."]
    for one in applied:
        if one["proposal"]:
            link = f"{client.url}/w/{made['workspace']}/proposals/{one['proposal']}/"
            lines.append(f"{output.safe(one['kind'] + '/' + one['name'])} waits for approval: {output.safe(link)}")
    return "\n".join(lines)
