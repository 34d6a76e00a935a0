"""A policy's own words into its place in a bundle: the root `policy` becomes `placet.p_<digest>`. Pure.

Authors write `package policy` and `data.policy...`; only rendered text is ever parsed, tested, signed and run. A
policy that names any other root cannot be rendered, so it cannot reach floor, baseline, router or another policy.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from audit import canonical

_TOKEN = re.compile(
    r"""(?P<space>[ \t\n]+)|(?P<comment>\#[^\n]*)|(?P<string>"(?:[^"\\\n]|\\[^\n])*"|`[^`]*`)"""
    r"""|(?P<word>[A-Za-z_][A-Za-z0-9_]*)|(?P<number>[0-9][A-Za-z0-9_.]*)|(?P<mark>[!$-/:-@\[-^{-~])"""
)
# What some reader takes for the end of a line or for nothing at all: no text may hide behind it.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\U000e0000-\U000e0fff]"
)


class NotRenderable(ValueError):
    """The text is no policy text: a root other than `policy`, or characters that may not stand in Rego."""


def root(digest: str) -> str:
    """Return the package under `placet` of the policy with `digest` (sha256:<hex>)."""
    name = f"p_{digest.removeprefix('sha256:')}"
    if not re.fullmatch(r"p_[0-9a-f]{64}", name):
        raise NotRenderable(f"{digest!r} is not the digest of a policy.")
    return name


def render(content: Mapping[str, Any], digest: str) -> dict[str, str]:
    """Return the rendered modules of a policy, path in the bundle -> text. :raises NotRenderable:"""
    name = root(digest)
    return {f"{name}/{path}": render_text(text, name, field=path) for path, text in sorted(content["modules"].items())}


def render_data(content: Mapping[str, Any], digest: str) -> dict[str, str]:
    """Return the policy's data as its file in the bundle; nothing if it has none."""
    data = content.get("data") or {}
    return {f"{root(digest)}/data.json": canonical.dumps(data).decode()} if data else {}


def rendered_hash(files: Mapping[str, str]) -> str:
    """Return the digest of rendered files, as the manifest states it."""
    return canonical.sha256(dict(files))


def render_text(text: str, name: str, *, field: str = "policy.rego", tests: bool = False) -> str:
    """Return module `text` with `policy` replaced by `placet.<name>` as root; `policy_test` too if `tests`.

    :raises NotRenderable: with the line at fault.
    """
    tokens = list(_tokens(text, field))
    roots = {"policy": f"placet.{name}"}
    if tests:
        roots["policy_test"] = f"placet.{name}_test"
    solid = [index for index, (kind, _, _) in enumerate(tokens) if kind not in ("space", "comment")]
    rendered = [token for _, token, _ in tokens]
    packages = 0
    for place, index in enumerate(solid):
        kind, word, line = tokens[index]
        before = tokens[solid[place - 1]][1] if place else ""
        if kind != "word" or before == ".":
            continue
        if word == "package":
            packages += 1
            _replace(
                tokens, rendered, index, solid, place, roots, f"{field}:{line}: the package must be policy or policy.x."
            )
        elif word == "data":
            _reference(tokens, rendered, index, roots, f"{field}:{line}: data may be read only as data.policy...")
            if before == "import" and _ends(tokens, index + 3):
                # The name that the import gives must stay the author's.
                rendered[index + 2] += f" as {tokens[index + 2][1]}"
    if packages != 1:
        raise NotRenderable(f"{field}: one package line is needed, {packages} found.")
    return "".join(rendered)


def deepest(text: str) -> int:
    """Return how deep brackets nest in a module: the parser's time is exponential in it. :raises NotRenderable:"""
    depth = most = 0
    for kind, mark, _ in _tokens(text, "module"):
        if kind == "mark" and mark in "([{":
            depth += 1
            most = max(most, depth)
        elif kind == "mark" and mark in ")]}":
            depth -= 1
    return most


def _tokens(text: str, field: str) -> Iterator[tuple[str, str, int]]:
    line, place = 1, 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None or _HIDDEN.search(match.group()):
            raise NotRenderable(f"{field}:{line}: a character that may not stand here in a policy.")
        yield str(match.lastgroup), match.group(), line
        line += match.group().count("\n")
        place = match.end()


def _replace(
    tokens: list[tuple[str, str, int]],
    rendered: list[str],
    index: int,
    solid: list[int],
    place: int,
    roots: Mapping[str, str],
    problem: str,
) -> None:
    following = solid[place + 1] if place + 1 < len(solid) else index
    # One blank and the name on the same line: nothing for two parsers to disagree about.
    if following != index + 2 or tokens[index + 1][1] != " " or tokens[following][1] not in roots:
        raise NotRenderable(problem)
    rendered[following] = roots[tokens[following][1]]


def _reference(
    tokens: list[tuple[str, str, int]], rendered: list[str], index: int, roots: Mapping[str, str], problem: str
) -> None:
    following = [token for _, token, _ in tokens[index + 1 : index + 3]]
    if len(following) < 2 or following[0] != "." or following[1] not in roots:
        raise NotRenderable(problem)
    rendered[index + 2] = roots[following[1]]


def _ends(tokens: list[tuple[str, str, int]], index: int) -> bool:
    """Say whether an import ends at `index`: no further part and no `as`."""
    if index >= len(tokens):
        return True
    if tokens[index][1] == ".":
        return False
    rest = [token for kind, token, _ in tokens[index : index + 2] if kind != "space"]
    return "\n" in tokens[index][1] or not rest or rest[0] != "as"
