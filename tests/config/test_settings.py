"""Settings come from the environment, typed; a wrong one is named with what is wrong."""

import re
from pathlib import Path

import pytest

from config.env import Environment, read
from config.stack import Stack

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


def test_threads_that_calls_would_use_up_are_refused_and_no_secret_is_told(monkeypatch):
    monkeypatch.setenv("PLACET_WEB_THREADS", "24")
    monkeypatch.setenv("SECRET_KEY", "never-shown")
    with pytest.raises(SystemExit) as stopped:
        read()
    assert "PLACET_WEB_THREADS must leave room" in str(stopped.value)
    assert "set it to 34 or more" in str(stopped.value)
    assert "never-shown" not in str(stopped.value)
    monkeypatch.setenv("PLACET_WEB_THREADS", "34")
    assert read().other_requests == 4


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


def test_the_address_of_an_opa_server_is_one_that_can_be_asked(monkeypatch):
    for url in (
        "http://opa:8181",
        "https://opa-{workspace}.example.com",
        "unix:///run/opa/{workspace}-{environment}.sock",
    ):
        monkeypatch.setenv("OPA_URL", url)
        assert read().opa_url == url
    for url in ("opa:8181", "file:///x", "unix://run/opa.sock", "http://opa:8181/v1/data", "http://opa?x=1"):
        monkeypatch.setenv("OPA_URL", url)
        with pytest.raises(SystemExit, match=r"OPA_URL: .*unix:///path\.sock"):
            read()


def test_a_wrong_token_is_refused_and_not_shown(monkeypatch):
    monkeypatch.setenv("OPA_TOKEN", "two words")
    with pytest.raises(SystemExit, match=r"OPA_TOKEN: .*bearer token") as stopped:
        read()
    assert "two words" not in str(stopped.value)


def test_sidecars_are_ours_to_run_only_where_no_address_is_given(tmp_path):
    def names(**more):
        children = Stack(Environment(placet_home=tmp_path, **more), write=print).supervisor.children
        return {child.name for child in children}

    assert "opas" not in names()
    assert "opas" in names(placet_pdp="opa")
    assert "opas" in names(placet_pdp="shadow")
    assert "opas" not in names(placet_pdp="opa", opa_url="http://opa:8181")
    assert "evaluators" in names(placet_pdp="opa")
