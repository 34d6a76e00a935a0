"""Write the reference pages that follow from the source: error codes, events, REST endpoints, the `placet` command.

`python scripts/reference.py` writes them, `--check` says which are out of date. tests/test_docs.py runs the check.
"""

import ast
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
APPS = ("audit", "registry", "gateway", "agents", "operations", "config")
NOTE = "<!-- Made by scripts/reference.py from the source; change it there. -->\n\n"


def main() -> int:
    """Write or check the pages. :returns: 0, or 1 if `--check` found a page out of date."""
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    import django

    django.setup()
    pages = {"errors.md": errors(), "events.md": events(), "rest.md": rest(), "cli.md": cli()}
    stale = []
    for name, text in pages.items():
        path = ROOT / "docs" / "reference" / name
        if path.exists() and path.read_text() == text:
            continue
        stale.append(name)
        if "--check" not in sys.argv:
            path.write_text(text)
    print(("out of date: " if "--check" in sys.argv else "written: ") + ", ".join(stale) if stale else "up to date")
    return 1 if stale and "--check" in sys.argv else 0


def errors() -> str:
    """Return the page of every code with which a request can be refused."""
    found: dict[str, tuple[int, str]] = {}
    for path in sources():
        tree = ast.parse(path.read_text())
        for scope in (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.Module))):
            told: dict[str, ast.expr] = {}
            # In the order of the lines: an error's text is often named on the line before.
            for node in sorted(ast.walk(scope), key=lambda one: getattr(one, "lineno", 0)):
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    told[node.targets[0].id] = node.value
                elif (refusal := refused(node)) is not None:
                    code, status, detail = refusal
                    text = words(told.get(detail.id, detail) if isinstance(detail, ast.Name) else detail)
                    if code not in found or len(text) > len(found[code][1]):
                        found[code] = (status, text)
    rows = [f"| `{code}` | {status} | {text} |" for code, (status, text) in sorted(found.items())]
    intro = (
        "# Error codes\n\n"
        + NOTE
        + "Every error of the API is a problem document (RFC 9457): `type`, `title`, `status`, `code`, `detail`, `instance`,\n"
        "`correlation_id`, and `field` where one is at fault. Codes are stable and never reused. A denial by policy carries reason codes: see\n"
        "[reasons.md](reasons.md).\n\n| code | status | what it says |\n|---|---|---|\n"
    )
    return intro + "\n".join(rows) + "\n"


def refused(node: ast.AST) -> tuple[str, int, ast.expr] | None:
    """Return code, status and detail if `node` makes a Refusal with a literal code."""
    if not isinstance(node, ast.Call) or getattr(node.func, "id", getattr(node.func, "attr", "")) != "Refusal":
        return None
    if len(node.args) < 2 or not isinstance(node.args[0], ast.Constant):
        return None
    statuses = [k.value.value for k in node.keywords if k.arg == "status" and isinstance(k.value, ast.Constant)]
    return str(node.args[0].value), int(statuses[0]) if statuses else 400, node.args[1]


def words(node: ast.expr) -> str:
    """Return the text of an error's detail, with … where a value is put in."""
    if isinstance(node, ast.Constant):
        return str(node.value).replace("|", "\\|").replace("\n", " ")
    if isinstance(node, ast.JoinedStr):
        return "".join(words(part) if isinstance(part, ast.Constant) else "…" for part in node.values)
    if isinstance(node, ast.BinOp):
        return words(node.left) + words(node.right)
    return ""


def events() -> str:
    """Return the page of every event that a record can have."""
    from audit import events as registered

    rows = [f"| `{name}` | {text} |" for name, text in sorted(registered.registered().items())]
    return (
        "# Events\n\n"
        + NOTE
        + "What a record's `event` can be; [trail.md](trail.md) has the format.\n\n| event | meaning |\n|---|---|\n"
        + "\n".join(rows)
        + "\n"
    )


def rest() -> str:
    """Return the page of every operation of the REST API."""
    from drf_spectacular.generators import SchemaGenerator

    document: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)
    rows = []
    for path, operations in sorted(document["paths"].items()):
        for method, operation in operations.items():
            if method in ("get", "post", "put", "patch", "delete"):
                text = operation.get("summary") or operation.get("description", "").strip().split("\n")[0]
                rows.append(f"| `{method.upper()}` | `{path}` | {text} |")
    intro = (
        "# REST\n\n"
        + NOTE
        + "The document itself is served at `/api/v1/openapi.json` (OpenAPI 3.1). People sign in with a session and send the CSRF\n"
        "token, or `Authorization: Bearer` with an access token; agents send their key that way.\n\n| method | path | what it does |\n|---|---|---|\n"
    )
    return intro + "\n".join(rows) + "\n"


def cli() -> str:
    """Return the page of every command of the command line, with the words of its own help."""
    import typer

    from config.cli.app import app
    from config.cli.failures import Exit

    intro = (
        "# The `placet` command\n\n" + NOTE + "How to work with it: [guide](../guides/cli.md). Exit codes: "
        f"{Exit.OK:d} done, {Exit.ERROR:d} error, {Exit.USAGE:d} wrong usage, {Exit.DENIED:d} denied, {Exit.PENDING:d} "
        "something moved meanwhile or waits for a person.\n\n"
    )
    whole = typer.main.get_command(app)
    return intro + "\n".join(_command(whole, typer.Context(whole, info_name="placet")))


def _command(command: Any, context: Any) -> Iterator[str]:
    """Yield the section of one command, then those of its own commands."""
    level = "##" if context.parent is None else "###"
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"{level} {context.command_path}\n\n`{usage}`\n\n{command.help}\n"
    records = [one.get_help_record(context) for one in command.get_params(context) if one.name != "help"]
    rows = [f"| `{_cell(name)}` | {_cell(text)} |" for name, text in (one for one in records if one is not None)]
    if rows:
        yield "| option or argument | meaning |\n|---|---|\n" + "\n".join(rows) + "\n"
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        yield from _command(inner, type(context)(inner, info_name=name, parent=context))


def _cell(text: str) -> str:
    return (text or "").replace("|", "\\|").replace("  [", " [")


def sources() -> Iterator[Path]:
    """Yield every Python file of the product."""
    for app in APPS:
        yield from sorted(path for path in (ROOT / app).rglob("*.py") if "migrations" not in path.parts)


if __name__ == "__main__":
    sys.exit(main())
