"""The architecture is a lint rule: a planted violation is caught, the code as it is has none."""

import subprocess
import sys
from pathlib import Path

from tests import durations

ROOT = Path(__file__).resolve().parents[1]
LINT = Path(sys.executable).parent / "lint-imports"


def test_every_import_contract_is_kept():
    done = subprocess.run([LINT, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


def test_a_tool_call_beside_the_line_and_a_request_beside_connect_break_the_contracts(tmp_path):
    """Plant `agents` calling a tool and the network directly, in a copy: both must break, or they protect nothing."""
    for name in ("config", "operations", "agents", "gateway", "registry", "audit", "pyproject.toml"):
        subprocess.run(["cp", "-r", ROOT / name, tmp_path / name], check=True)
    planted = "def run():\n    import httpx2\n    from gateway import transport\n\n    return transport, httpx2\n"
    (tmp_path / "agents" / "planted.py").write_text(planted)
    done = subprocess.run([LINT, "--no-cache"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "No tool runs without a decision" in done.stdout
    assert "agents.planted -> gateway.transport" in done.stdout
    assert "agents.planted -> httpx2" in done.stdout


def test_every_file_whose_duration_is_known_is_there():
    assert [path for path in durations.SECONDS if path.endswith(".py") and not (ROOT / path).exists()] == []


def test_file_names_say_what_is_inside():
    empty_words = {"util", "utils", "helper", "helpers", "service", "services", "manager", "managers", "common", "misc"}
    tracked = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert [name for name in tracked.stdout.splitlines() if Path(name).stem in empty_words] == []
