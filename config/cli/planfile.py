"""A plan as a file: everything that is needed to apply exactly what was looked at, with what it was compared to."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audit import canonical
from audit.refusal import Refusal
from config.cli.client import Document
from config.cli.failures import Failure, usage
from registry import digest
from registry.manifests import source
from registry.manifests.document import Manifest

FORMAT = "placet-plan/1"
LARGEST = 64 * 1024 * 1024


def manifests_of(directory: Path, workspace: str) -> list[Manifest]:
    """Return the manifests of a directory, with what git says about them. :raises Failure: naming the file."""
    try:
        found = source.described(directory)
    except Refusal as refusal:
        raise Failure(refusal.detail, code=refusal.code, field=refusal.field) from refusal
    for one in found:
        if one.workspace not in (None, workspace):
            detail = f"{one.source} is for the workspace {one.workspace!r}, not for {workspace!r}."
            raise Failure(detail, code="manifest_invalid", field=one.source)
    return found


def asked(manifests: Sequence[Manifest], workspace: str, environment: str | None) -> Document:
    """Return the body that asks the server for a plan."""
    listed = [
        {"kind": one.kind, "name": one.name, "spec": one.spec, "source": one.source, "provenance": one.provenance}
        for one in manifests
    ]
    return {"workspace": workspace, "environment": environment, "manifests": listed}


def build(url: str, made_at: str, request: Document, answer: Document) -> Document:
    """Return the plan: what was sent, with what the server said about each of it."""
    sent = {(one["kind"], one["name"]): one for one in request["manifests"]}
    planned = []
    for told in answer["manifests"]:
        given = sent[told["kind"], told["name"]]
        spec = given["spec"] | {"pins": told["pins"]} if told["kind"] == "agent" else given["spec"]
        planned.append(told | {"spec": spec, "provenance": given["provenance"]})
    plan = {
        "format": FORMAT,
        "url": url,
        "workspace": answer["workspace"],
        "environment": answer["environment"],
        "charter": answer["charter"],
        "made_at": made_at,
        "manifests": planned,
    }
    _check(plan)
    return sealed(plan)


def sealed(plan: Document) -> Document:
    """Return the plan with a digest over all of it, so that an edited file is noticed."""
    rest = {name: value for name, value in plan.items() if name != "digest"}
    return rest | {"digest": canonical.sha256(rest)}


def write(plan: Document, path: Path) -> None:
    """Write a plan. :raises Failure: if the file cannot be written."""
    try:
        path.write_text(json.dumps(plan, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}.", code="file_unwritable", field="-o") from error


def read(path: Path, *, url: str) -> Document:
    """Return a plan that was made for this server and has not been edited since. :raises Failure: else."""
    try:
        raw = path.read_bytes()
        plan = canonical.loads(raw, max_bytes=LARGEST, max_depth=64, field=str(path))
    except OSError as error:
        raise usage(f"{path} cannot be read: {error.strerror}.", field="SOURCE") from error
    except Refusal as refusal:
        raise usage(f"{path} is neither a directory nor a plan: {refusal.detail}", field="SOURCE") from refusal
    if not isinstance(plan, dict) or plan.get("format") != FORMAT:
        raise usage(f"{path} is no plan of this version ({FORMAT}); make one with `placet plan -o`.", field="SOURCE")
    if sealed(plan) != plan:
        raise Failure(f"{path} was changed after it was made; make a new plan.", code="plan_changed", field="SOURCE")
    if plan["url"] != url:
        raise usage(f"The plan was made for {plan['url']}, and you are about to apply it to {url}.", field="--url")
    _check(plan)
    return plan


def to_send(plan: Document, one: Document) -> Document:
    """Return the body that applies one manifest of a plan, bound to what it was compared to."""
    body: dict[str, Any] = {name: one[name] for name in ("kind", "name", "spec", "source", "provenance")}
    body |= {"workspace": plan["workspace"], "base": (one["base"] or {}).get("digest", "")}
    if plan["environment"]:
        body |= {"environment": plan["environment"], "live": (one["live"] or {}).get("digest", "")}
    return body


def _check(plan: Document) -> None:
    """Hold each content against its digest: what is applied is what the plan showed."""
    for one in plan["manifests"]:
        if digest.of(one["kind"], one["name"], one["spec"]) != one["digest"]:
            detail = f"The content of {one['kind']}/{one['name']} has another digest than the plan says."
            raise Failure(detail, code="plan_changed", field=one["source"])
