"""A contract can name only what the operator's file offers."""

import json

import pytest

from gateway import launchers


@pytest.fixture
def write(tmp_path, settings):
    settings.PLACET_LAUNCHERS = str(tmp_path / "launchers.toml")
    settings.PLACET_HOME = tmp_path
    (tmp_path / "secrets").mkdir()

    def write(text, name="launchers.toml"):
        settings.PLACET_LAUNCHERS = str(tmp_path / name)
        (tmp_path / name).write_text(text)
        return tmp_path

    return write


def test_a_launcher_is_found_by_name_and_an_unknown_one_is_refused_with_the_remedy(write):
    write('[launchers.git]\ncommand = ["git-server"]\n')
    assert launchers.get("git").command == ("git-server",)
    with pytest.raises(launchers.LauncherUnknown, match=r"add \[launchers.shell\]"):
        launchers.get("shell")


def test_no_file_means_no_launchers(write, settings):
    settings.PLACET_LAUNCHERS += ".missing"
    with pytest.raises(launchers.LauncherUnknown):
        launchers.get("git")


def test_a_json_file_means_the_same_as_toml(write):
    write('[launchers.git]\ncommand = ["git-server"]\nstateful = true\n')
    toml = launchers.get("git")
    write(json.dumps({"launchers": {"git": {"command": ["git-server"], "stateful": True}}}), "launchers.json")
    assert launchers.get("git") == toml


def test_an_edited_file_counts_from_the_next_call_on(write, tmp_path):
    import os

    write('[launchers.git]\ncommand = ["old"]\n')
    before = launchers.get("git")
    write('[launchers.git]\ncommand = ["new"]\n')
    os.utime(tmp_path / "launchers.toml", ns=(1, 1))
    assert launchers.get("git").command == ("new",)
    assert launchers.get("git").digest != before.digest


def test_places_are_filled_in(write, settings):
    home = write('[launchers.git]\ncommand = ["{root}/bin/x", "{home}/y"]\ncwd = "{home}"\nenv = {A = "{home}/z"}\n')
    launcher = launchers.get("git")
    assert launcher.command == (f"{settings.BASE_DIR}/bin/x", f"{home}/y")
    assert (launcher.cwd, launcher.env) == (str(home), {"A": f"{home}/z"})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[launchers.git]\n", r"launchers\.git\.command"),
        ("[launchers.git]\ncommand = []\n", r"launchers\.git\.command"),
        ('[launchers.git]\ncommand = ["x"]\nshell = true\n', r"launchers\.git\.shell"),
        ('[launchers.git]\ncommand = ["x"]\nuser = "root"\n', r"launchers\.git\.user"),
        ('[launchers.git]\ncommand = ["x"]\nuser = 0\n', r"launchers\.git\.user"),
        ('[launchers.git]\ncommand = ["x"]\nsandbox = "docker"\n', r"launchers\.git\.sandbox"),
        ('[launchers.git]\ncommand = ["x"]\nlimits = {open_files = 1}\n', r"launchers\.git\.limits\.open_files"),
        ('[launchers.git]\ncommand = ["x"]\nname = "other"\n', "its name stands in the heading"),
        ("[tools.git]\n", "members must be `launchers` and `endpoints`"),
        ("launchers = [", "launchers.toml"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place_of_the_mistake(write, text, complaint):
    write(text)
    with pytest.raises(launchers.LaunchersInvalid, match=complaint):
        launchers.get("git")


def test_the_environment_is_made_of_nothing_but_the_launcher(write, monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "ours")
    monkeypatch.setenv("HOME", "/home/ours")
    home = write('[launchers.git]\ncommand = ["x"]\nenv = {A = "1", TERM = "x"}\nsecrets = {TOKEN = "git_token"}\n')
    (home / "secrets" / "git_token").write_text("hush\n")
    variables = launchers.get("git").environment()
    assert variables.pop("TOKEN") == "hush"
    assert variables == {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": "/nonexistent",
        "SHELL": "/bin/false",
        "TERM": "x",
        "LANG": "C.UTF-8",
        "USER": "tool",
        "LOGNAME": "tool",
        "A": "1",
    }


def test_a_missing_secret_stops_the_launch(write):
    write('[launchers.git]\ncommand = ["x"]\nsecrets = {TOKEN = "git_token"}\n')
    with pytest.raises(launchers.LaunchersInvalid, match=r"launchers\.git\.secrets\.TOKEN"):
        launchers.get("git").environment()


def test_a_demanded_sandbox_that_is_not_installed_is_an_error_and_a_wished_one_is_left_out(write, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    write('[launchers.a]\ncommand = ["x"]\nsandbox = "bubblewrap"\n[launchers.b]\ncommand = ["x"]\nsandbox = "auto"\n')
    with pytest.raises(launchers.LaunchersInvalid, match="bwrap is not installed"):
        launchers.get("a").bubblewrap()
    assert launchers.get("b").bubblewrap() == []


def test_the_sandbox_shows_only_the_named_places_and_no_network(write, monkeypatch):
    home = write(
        '[launchers.git]\ncommand = ["x"]\nsandbox = "bubblewrap"\ncwd = "/srv"\n'
        'read_only = ["/usr"]\nwritable = ["/srv"]\n'
    )
    program = home / "bwrap"
    program.write_text("")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(home))
    words = launchers.get("git").bubblewrap()
    text = " ".join(words)
    assert words[0] == str(program)
    assert "--unshare-all" in words
    assert "--share-net" not in words
    assert "--ro-bind /usr /usr" in text
    assert "--bind /srv /srv" in text
    assert text.endswith("--chdir /srv --")
