"""Where manifests come from: the git repository, commit and identities behind each file."""

import subprocess
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from registry.manifests.document import Manifest, read

MOST_COMMITS = 1000
_TIMEOUT = 20  # seconds


def described(directory: Path) -> list[Manifest]:
    """Return every manifest below `directory` with its provenance. :raises Refusal: manifest_invalid."""
    return [replace(one, provenance=provenance(directory, one.files)) for one in read(directory)]


def provenance(directory: Path, files: Iterable[Path]) -> dict[str, Any] | None:
    """Return repository, commit, path and every author, committer and co-author of `files`; None outside of git.

    `commit` is left out while a file differs from it: what is applied was then never committed.
    """
    paths = [str(path) for path in files]
    top = _git(directory, "rev-parse", "--show-toplevel")
    if top is None:
        return None
    tracked = _git(directory, "ls-files", "--error-unmatch", "--", *paths) is not None
    if not tracked:
        return None
    log = ["log", f"--max-count={MOST_COMMITS}", "--follow" if len(paths) == 1 else "--no-merges"]
    pretty = "--format=%an <%ae>%n%cn <%ce>%n%(trailers:key=Co-authored-by,valueonly)"
    identities = _git(directory, *log, pretty, "--", *paths) or ""
    clean = _git(directory, "status", "--porcelain", "--", *paths) == ""
    origin = _git(directory, "remote", "get-url", "origin")
    return {
        "repository": _without_secret((origin or Path(top.strip()).name).strip())[:500],
        "commit": (_git(directory, "rev-parse", "HEAD") or "").strip() if clean else "",
        "path": str(Path(paths[0]).resolve().relative_to(Path(top.strip()).resolve()))[:500],
        "identities": sorted({line.strip()[:320] for line in identities.splitlines() if line.strip()}),
    }


def _without_secret(url: str) -> str:
    """Return a remote's address without the user and password that may stand in it."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else url


def _git(directory: Path, *arguments: str) -> str | None:
    """Return git's output, or None if it failed, is missing or hangs."""
    command = ["git", "-C", str(directory), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
