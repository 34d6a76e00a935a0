"""A contract can name only addresses that the operator's file offers, and never the secrets that go there."""

from uuid import uuid4

import pytest

from gateway import endpoints, launchers


@pytest.fixture
def write(tmp_path, settings):
    settings.PLACET_LAUNCHERS = str(tmp_path / "launchers.toml")
    settings.PLACET_HOME = tmp_path
    (tmp_path / "secrets").mkdir()

    def write(text):
        (tmp_path / "launchers.toml").write_text(text)
        return tmp_path

    return write


def test_an_endpoint_stands_beside_launchers_in_one_file(write):
    write('[endpoints.forge]\nurl = "https://forge.example/api/"\n[launchers.git]\ncommand = ["git-server"]\n')
    assert endpoints.get("forge").base == "https://forge.example/api"
    assert endpoints.get("forge").methods == ("GET", "POST")
    assert launchers.get("git").command == ("git-server",)
    with pytest.raises(endpoints.EndpointUnknown, match=r"add \[endpoints.git\]"):
        endpoints.get("git")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[endpoints.a]\n", r"endpoints\.a\.url"),
        ('[endpoints.a]\nurl = "ftp://x"\n', r"endpoints\.a\.url.*no http or https URL"),
        ('[endpoints.a]\nurl = "https://alice:word@x"\n', r"endpoints\.a\.url.*user name or password"),
        ('[endpoints.a]\nurl = "https://x/?key=word"\n', r"endpoints\.a\.url.*no query"),
        ('[endpoints.a]\nurl = "https://x"\nmethods = ["CONNECT"]\n', r"endpoints\.a\.methods"),
        ('[endpoints.a]\nurl = "https://x"\nmethods = []\n', r"endpoints\.a\.methods"),
        ('[endpoints.a]\nurl = "https://x"\nheaders = { Host = "y" }\n', r"endpoints\.a\.headers"),
        ('[endpoints.a]\nurl = "https://x"\nsecrets = { "a b" = "y" }\n', r"endpoints\.a\.secrets"),
        ('[endpoints.a]\nurl = "https://x"\ntoken = "y"\n', r"endpoints\.a\.token"),
        ("endpoints = 1\n", "tables of entries"),
    ],
)
def test_a_wrong_entry_is_refused_with_the_place_of_the_mistake(write, text, complaint):
    write(text)
    with pytest.raises(endpoints.EndpointInvalid, match=complaint):
        endpoints.get("a")


def test_secrets_come_from_files_and_variables_and_are_read_anew(write, monkeypatch):
    home = write(
        '[endpoints.a]\nurl = "https://x"\nheaders = { X-Version = "3" }\nbearer = "token"\n'
        'secrets = { X-Key = "env:FORGE_KEY" }\n'
    )
    monkeypatch.setenv("FORGE_KEY", "one")
    for token in ("first", "second"):
        (home / "secrets" / "token").write_text(f"{token}\n")
        sent = endpoints.get("a").sent_headers()
        assert sent == {"X-Version": "3", "X-Key": "one", "Authorization": f"Bearer {token}"}
    monkeypatch.delenv("FORGE_KEY")
    with pytest.raises(endpoints.EndpointInvalid, match=r"the secret of X-Key: env:FORGE_KEY is empty"):
        endpoints.get("a").sent_headers()


def test_an_endpoint_serves_whom_the_operator_says(write):
    workspace = uuid4()
    write(f'[endpoints.a]\nurl = "https://x"\nworkspaces = ["{workspace}"]\nenvironments = ["production"]\n')
    endpoint = endpoints.get("a")
    assert endpoint.serves(workspace, "production")
    assert not endpoint.serves(workspace, "staging")
    assert not endpoint.serves(uuid4(), "production")
