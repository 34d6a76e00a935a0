"""The REST client of the `placet` command: one server, one token, every error a Failure."""

import ipaddress
import os
from collections.abc import Iterator
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import httpx2 as httpx

from config.cli import logins
from config.cli.failures import Exit, Failure, refused, usage

Document = dict[str, Any]
SECONDS = httpx.Timeout(300.0, connect=10.0)  # policies are tested while a plan is made
SHORT = 8  # characters at the end of an id that tell one row from another
_FULL = 36
_MOST_LOOKED_AT = 1000


class Client:
    """Talks to one Placet."""

    def __init__(self, url: str | None = None, token: str | None = None, *, anonymous: bool = False) -> None:
        self.url = checked(url or logins.url())
        self.login = None if anonymous or token else logins.find(self.url)
        secret = token or (self.login.token if self.login else "")
        if not secret and not anonymous:
            detail = f"You are not signed in to {self.url}."
            remedy = f"Run `placet login {self.url}`, or set PLACET_TOKEN."
            raise Failure(detail, code="not_authenticated", exit_code=Exit.DENIED, remedy=remedy)
        headers = {"Accept": "application/json", "User-Agent": "placet-cli/0.1"}
        if secret:
            headers["Authorization"] = f"Bearer {secret}"
        self.http = httpx.Client(base_url=f"{self.url}/api/v1/", headers=headers, timeout=SECONDS)

    def get(self, path: str, **query: Any) -> Document:
        """Return a document."""
        return self._document(self._send("GET", path, params=_given(query)))

    def post(self, path: str, body: Document, **headers: str) -> Document:
        """Send a document and return the answer's."""
        return self._document(self._send("POST", path, json=body, headers=headers))

    def rows(self, path: str, **query: Any) -> Iterator[Document]:
        """Yield the rows of every page of a list, the newest first."""
        page = self.get(path, **query)
        while True:
            yield from page["results"]
            following = page.get("next")
            if not following:
                return
            # Only the query is taken: behind a proxy the server may not know its own address.
            page = self._document(self._send("GET", f"{path}?{urlsplit(following).query}"))

    def some(self, path: str, *, limit: int, **query: Any) -> list[Document]:
        """Return the first rows of a list."""
        return list(islice(self.rows(path, **query), limit))

    def delete(self, path: str) -> None:
        """Delete what is there."""
        self._send("DELETE", path)

    def stream(self, path: str) -> Iterator[bytes]:
        """Yield the bytes of a large answer."""
        try:
            with self.http.stream("GET", path, headers={"Accept": "*/*"}) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    raise self._refused(answer)
                yield from answer.iter_bytes()
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def text(self, address: str) -> str:
        """Return the text below the server's address itself, as a checkpoint is."""
        answer = self._send("GET", f"{self.url}/{address}", headers={"Accept": "*/*"})
        return answer.text

    def workspace(self, named: str | None) -> str:
        """Return the slug that is meant: the one named, the usual one, or the only one there is."""
        usual = named or (self.login.workspace if self.login else "") or os.environ.get("PLACET_WORKSPACE", "")
        if usual:
            return usual
        slugs = [one["slug"] for one in self.get("me/")["workspaces"]]
        if len(slugs) == 1:
            return str(slugs[0])
        if not slugs:
            raise Failure("You are not a member of a workspace.", code="workspace_missing", exit_code=Exit.DENIED)
        detail = f"Say which workspace: --workspace {' or '.join(slugs)}, or set PLACET_WORKSPACE."
        raise usage(detail, field="--workspace", code="workspace_missing")

    def full_id(self, reference: str, path: str, workspace: str | None = None, **query: Any) -> str:
        """Return the id that `reference` means: itself, or the only one whose end (or beginning) it is."""
        wanted = reference.lower()
        if len(wanted) == _FULL:
            return wanted
        if len(wanted) < 4:
            raise usage(f"{reference!r} is too short; give at least four characters of the id.", field="ID")
        found: list[str] = []
        for number, row in enumerate(self.rows(path, workspace=self.workspace(workspace), **query)):
            if row["id"].endswith(wanted) or row["id"].startswith(wanted):
                found.append(row["id"])
            if number >= _MOST_LOOKED_AT:
                break
        if len(found) == 1:
            return found[0]
        if not found:
            raise Failure(f"There is no {reference!r} that you can see.", code="not_found", field="ID")
        raise usage(f"{reference!r} means {len(found)} of them: {', '.join(found[:5])}.", field="ID")

    def names(self, workspace: str) -> dict[str, str]:
        """Return the username of each member by id, and by `person:<id>` as the trail has it."""
        people = {row["person"]: row["username"] for row in self.rows("memberships/", workspace=workspace)}
        return people | {f"person:{pk}": name for pk, name in people.items()}

    def _send(self, method: str, path: str, **how: Any) -> httpx.Response:
        try:
            answer = self.http.request(method, path, **how)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if answer.status_code >= 400:
            raise self._refused(answer)
        return answer

    def _document(self, answer: httpx.Response) -> Document:
        try:
            document = answer.json()
        except ValueError as error:
            detail = f"{self.url} does not answer like a Placet (no JSON)."
            raise Failure(detail, code="not_placet", remedy="Check PLACET_URL.") from error
        if not isinstance(document, dict):
            document = {"results": document}
        return document

    def _refused(self, answer: httpx.Response) -> Failure:
        try:
            problem = answer.json()
        except ValueError:
            problem = {}
        if not isinstance(problem, dict):
            problem = {}
        if str(problem.get("address", "")).startswith("/"):
            problem["address"] = f"{self.url}{problem['address']}"
        problem.setdefault("correlation_id", answer.headers.get("X-Correlation-ID", ""))
        return refused(problem, answer.status_code)

    def _unreachable(self, error: Exception) -> Failure:
        detail = f"{self.url} does not answer: {error or type(error).__name__}."
        return Failure(detail, code="unreachable", remedy="Is it running (`placet up`), and is PLACET_URL right?")


def checked(url: str) -> str:
    """Return the address of a server. :raises Failure: if a token would travel in the clear to another machine."""
    parts = urlsplit(url if "//" in url else f"https://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise usage(f"{url!r} is no address of a Placet; give https://HOST[:PORT].", field="--url")
    if parts.scheme == "http" and not _loopback(parts.hostname) and os.environ.get("PLACET_INSECURE_HTTP") != "1":
        detail = f"{url} is not encrypted: your token could be read on the way. Use https://"
        raise usage(f"{detail}, or set PLACET_INSECURE_HTTP=1.", field="--url", code="not_encrypted")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _given(query: Document) -> Document:
    return {name: value for name, value in query.items() if value is not None}
