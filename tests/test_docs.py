"""What is not documented fails here: events, error codes, endpoints, reason codes, commands."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_reference_pages_follow_the_source():
    command = [sys.executable, "scripts/reference.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"Run `python scripts/reference.py`: {done.stdout}{done.stderr[-2000:]}"


def test_every_reason_code_of_the_shipped_policies_is_documented():
    documented = "".join((ROOT / "docs/reference" / name).read_text() for name in ("reasons.md", "policies.md"))
    codes = set()
    for path in ROOT.glob("policies/*/policy.rego"):
        codes |= set(re.findall(r'"code": "([a-z_]+)"', path.read_text()))
    assert codes
    assert {code for code in codes if f"`{code}`" not in documented} == set()


def test_every_link_between_the_pages_leads_somewhere():
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]
    broken = []
    for page in pages:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if not target.startswith(("http:", "https:", "mailto:")) and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)} -> {target}")
    assert broken == []


def test_no_machine_path_and_no_package_index_is_named():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    forbidden = re.compile(r"/work/|/root/|pypi\.org|files\.pythonhosted|registry\.npmjs|proxy\.golang")
    found = [
        name
        for name in tracked
        if name != "tests/test_docs.py"
        and (path := ROOT / name).is_file()
        and path.suffix in {".py", ".md", ".toml", ".txt", ".in", ".yaml", ".json", ".rego", ".html", ".css", ".js", ""}
        and forbidden.search(path.read_text(errors="replace"))
    ]
    assert found == []
