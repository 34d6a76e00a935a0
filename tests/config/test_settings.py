"""Settings come from the environment, typed; a wrong one is named with what is wrong."""

import re
from pathlib import Path

import pytest

from config.env import Environment, read

ROOT = Path(__file__).resolve().parents[2]


def test_every_setting_is_documented_and_nothing_else_is():
    page = (ROOT / "docs/reference/settings.md").read_text()
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", page, re.MULTILINE))
    assert documented == {name.upper() for name in Environment.model_fields}


def test_the_documented_defaults_are_the_real_ones():
    page = (ROOT / "docs/reference/settings.md").read_text()
    for name, field in Environment.model_fields.items():
        if isinstance(field.default, int) and not isinstance(field.default, bool):
            assert f"| `{name.upper()}` | `{field.default}` |" in page


def test_a_wrong_setting_stops_the_start_and_is_named(monkeypatch):
    monkeypatch.setenv("PORT", "eighty")
    monkeypatch.setenv("DATABASE_URL", "sqlite:///x")
    with pytest.raises(SystemExit) as stopped:
        read()
    assert "PORT: " in str(stopped.value)
    assert "DATABASE_URL: " in str(stopped.value)
    assert "postgresql://" in str(stopped.value)


def test_a_secret_can_come_from_a_file(monkeypatch, tmp_path):
    (tmp_path / "key").write_text("from-a-file\n")
    monkeypatch.setenv("SECRET_KEY_FILE", str(tmp_path / "key"))
    assert read().secret_key == "from-a-file"
    monkeypatch.setenv("SECRET_KEY", "from-the-environment")
    assert read().secret_key == "from-the-environment"


def test_a_made_secret_stays_the_same_and_is_private(tmp_path):
    environment = Environment(placet_home=tmp_path)
    first = environment.secret("django")
    assert environment.secret("django") == first
    assert environment.secret("other") != first
    assert (tmp_path / "secrets" / "django").stat().st_mode & 0o077 == 0
    assert [path.name for path in sorted((tmp_path / "secrets").iterdir())] == ["django", "other"]


def test_sockets_move_to_a_short_path_when_the_home_is_deep(tmp_path):
    deep = tmp_path / ("d" * 90)
    assert len(str(Environment(placet_home=deep).sockets)) < 60
    assert Environment(placet_home=Path("/srv/placet")).sockets == Path("/srv/placet/sockets")
