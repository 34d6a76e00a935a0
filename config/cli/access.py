"""Sign in and out. The password, the second factor and single sign-on stay in the browser."""

import os
import socket
import sys
import time
import webbrowser
from typing import Annotated, Any

import typer

from config.cli import logins, output
from config.cli.client import Client, Document, checked
from config.cli.failures import Exit, Failure
from config.cli.options import Json, Workspace

tokens = typer.Typer(no_args_is_help=True, help="Your access tokens: list and revoke them.")
Url = Annotated[str | None, typer.Argument(metavar="URL", help="Address of the server; default: PLACET_URL.")]
Hours = Annotated[int, typer.Option(min=1, max=90 * 24, help="How long the token lives.")]
Name = Annotated[str | None, typer.Option(help="What this machine is called in your list of tokens.")]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Only print the link.")]
wait = time.sleep


def login(
    url: Url = None,
    hours: Hours = 12,
    name: Name = None,
    no_browser: NoBrowser = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Sign in: confirm a code in your browser. No password is given to this program."""
    address = checked(url or logins.url())
    client = Client(address, anonymous=True)
    begun = client.post("device-logins/", {"machine": name or f"placet on {socket.gethostname()}", "hours": hours})
    output.say(
        f"Open this page, compare the code, and confirm:\n\n  {output.safe(begun['verification_uri_complete'])}\n\n"
        f"  Code  [bold]{output.safe(begun['user_code'])}[/bold]\n"
    )
    if not no_browser and sys.stderr.isatty() and _graphical():
        webbrowser.open(begun["verification_uri_complete"])
    made = _collect(client, begun)
    me = Client(address, made["token"]).get("me/")
    slugs = [one["slug"] for one in me["workspaces"]]
    usual = workspace or (slugs[0] if len(slugs) == 1 else "")
    logins.keep(logins.Login(address, made["token"], me["username"], made["expires_at"], usual))
    told = {"url": address, "username": me["username"], "expires_at": made["expires_at"], "workspaces": slugs}
    output.show(told, as_json=json)
    if not json:
        output.say(
            f"Signed in as [bold]{output.safe(me['username'])}[/bold] until {output.when(made['expires_at'])}."
            + (f" Workspace: {output.safe(usual)}." if usual else "")
        )
        if not usual and slugs:
            output.say(f"Name a workspace with --workspace, or log in with it: {output.safe(', '.join(slugs))}.")


def logout(json: Json = False) -> None:
    """Sign out: revoke this machine's token and forget it."""
    address = logins.url()
    login = logins.find(address)
    if login is None:
        output.show({"url": address, "revoked": False}, as_json=json, table="You were not signed in.")
        return
    if os.environ.get("PLACET_TOKEN"):
        detail = "The token comes from PLACET_TOKEN; revoke it with `placet tokens revoke`, and unset it."
        raise Failure(detail, code="token_from_environment", exit_code=Exit.USAGE)
    try:
        client = Client(address)
        client.delete(f"access-tokens/{client.get('me/')['token']['id']}/")
    except Failure as failure:
        logins.forget(address)
        if failure.exit_code is not Exit.DENIED:  # denied: it has ended already
            detail = f"The token was forgotten here, but not revoked: {failure.detail}"
            raise Failure(
                detail, code=failure.code, remedy="It ends by itself; or revoke it in the browser."
            ) from failure
    logins.forget(address)
    output.show({"url": address, "revoked": True}, as_json=json, table=f"Signed out of {output.safe(address)}.")


def whoami(json: Json = False) -> None:
    """Say who you are, where, and with which roles."""
    client = Client()
    me = client.get("me/")
    roles = [f"{one['slug']}: {', '.join(one['roles']) or 'no role'}" for one in me["workspaces"]]
    token = me["token"] or {}
    table = output.pairs(
        [
            ("person", f"{me['name'] or me['username']} ({me['username']})"),
            ("server", client.url),
            ("token", f"{token.get('prefix', '')}… ({token.get('name', '')})" if token else ""),
            ("ends", output.when(token.get("expires_at"))),
            ("roles", "\n".join(roles) or "You are not a member of a workspace."),
        ]
    )
    output.show(me | {"url": client.url}, as_json=json, table=table)


@tokens.command("list")
def list_tokens(
    every: Annotated[bool, typer.Option("--all", help="Those that have ended, too.")] = False, json: Json = False
) -> None:
    """List your access tokens."""
    client = Client()
    rows = [row for row in client.rows("access-tokens/") if every or _stands(row)]
    own = (client.get("me/")["token"] or {}).get("id")
    shown = [
        (
            output.short(row["id"]),
            row["name"] + (" (this one)" if row["id"] == own else ""),
            f"{row['prefix']}…",
            output.ago(row["expires_at"]) if not row["revoked_at"] else "revoked",
            output.ago(row["last_used_at"]) or "never",
        )
        for row in rows
    ]
    table = output.table("", ("id", "device", "token", "ends", "last used"), shown, empty="No program acts as you.")
    output.show(rows, as_json=json, table=table)


@tokens.command("revoke")
def revoke_token(
    token: Annotated[str, typer.Argument(metavar="ID", help="Id, or its last characters.")], json: Json = False
) -> None:
    """End one of your access tokens at once."""
    client = Client()
    pk = _token_id(client, token)
    client.delete(f"access-tokens/{pk}/")
    output.show({"id": pk, "revoked": True}, as_json=json, table=f"{output.short(pk)} is revoked.")


def _collect(client: Client, begun: Document) -> Document:
    """Ask until the person has decided (RFC 8628 section 3.4). :raises Failure: refused, or too late."""
    pause, left = float(begun["interval"]), float(begun["expires_in"])
    with output.err().status("Waiting for you to confirm in the browser"):
        while left > 0:
            try:
                return client.post(f"device-logins/{begun['id']}/tokens/", {"device_code": begun["device_code"]})
            except Failure as failure:
                if failure.code == "slow_down":
                    pause += 5
                elif failure.code != "authorization_pending":
                    raise
            wait(pause)
            left -= pause
    detail = "Nobody confirmed the login in time."
    raise Failure(detail, code="expired_token", exit_code=Exit.PENDING, remedy="Run `placet login` again.")


def _token_id(client: Client, reference: str) -> str:
    found = [row["id"] for row in client.rows("access-tokens/") if row["id"].endswith(reference.lower())]
    if len(reference) < 4 or len(found) != 1:
        raise Failure(f"{reference!r} means {len(found)} of your tokens.", code="not_found", field="ID")
    return str(found[0])


def _stands(row: dict[str, Any]) -> bool:
    return not row["revoked_at"] and output.ago(row["expires_at"]).startswith("in ")


def _graphical() -> bool:
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
