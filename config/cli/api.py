"""Any address of the REST API from a terminal: what has no command of its own has this one."""

import json as json_module
from secrets import token_urlsafe
from typing import Annotated, Any

import typer

from config.cli import output
from config.cli.client import Client
from config.cli.failures import usage
from config.cli.options import Json, Workspace

METHODS = ("GET", "POST", "DELETE")


def api(
    method: Annotated[str, typer.Argument(metavar="METHOD", help=f"{', '.join(METHODS)}.")],
    path: Annotated[str, typer.Argument(metavar="PATH", help="Below /api/v1/, such as breakers/.")],
    member: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME=TEXT", help="A member of the body, or of a GET's query; NAME:=JSON for others."),
    ] = None,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Ask any address of the REST API (docs/reference/rest.md) and print the answer as JSON."""
    method = method.upper()
    if method not in METHODS:
        raise usage(f"The method is one of {', '.join(METHODS)}; got {method}.", field="METHOD")
    client, given = Client(), _members(member or [])
    path = path.removeprefix("/").removeprefix("api/v1/")
    if workspace is not None:
        given.setdefault("workspace", workspace)
    if method == "GET":
        told: Any = client.get(path, **given)
    elif method == "POST":
        told = client.post(path, given, **{"Idempotency-Key": token_urlsafe(18)})
    else:
        client.delete(path)
        told = {"deleted": path}
    output.show(told, as_json=True)


def _members(pairs: list[str]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator or not name.rstrip(":"):
            raise usage(f"{pair!r} is no NAME=TEXT and no NAME:=JSON.", field="NAME=TEXT")
        try:
            given[name.rstrip(":")] = json_module.loads(text) if name.endswith(":") else text
        except ValueError as error:
            raise usage(f"{text!r} is not JSON: {error}.", field="NAME:=JSON") from error
    return given
