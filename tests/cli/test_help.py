"""What the documentation says about the command line is there, and everything has words."""

import re
from pathlib import Path

import typer
from typer.main import get_command

from config.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
# `placet` in a block of commands, after the prompt of whoever types it; and in a line of text.
_TYPED = re.compile(r"(?:^|\$ +|`)placet ((?:[a-z-]+ ?)+(?:[^`\n#]*))", re.MULTILINE)


def commands(command, name=()):
    """Yield (words, command) of everything that can be run."""
    inner = getattr(command, "commands", {})
    if not inner:
        yield name, command
    for word, each in inner.items():
        yield from commands(each, (*name, word))


def options(command):
    return {option for one in command.params for option in (*one.opts, *one.secondary_opts)} | {"--help"}


def test_every_command_and_option_has_words():
    silent = []
    for name, command in commands(get_command(app)):
        context = typer.Context(command, info_name=" ".join(name))
        records = [one.get_help_record(context) for one in command.params]
        silent += [name] if not command.help else []
        silent += [(name, record) for record in records if record is not None and not record[1]]
    assert silent == []


def test_every_command_that_answers_can_answer_in_json():
    without = {name for name, command in commands(get_command(app)) if "--json" not in options(command)}
    assert without == {("up",), ("init",)}  # they run on this machine and print as manage.py does


def test_every_command_line_in_the_documentation_can_be_typed():
    known = dict(commands(get_command(app)))
    groups = {name[:1] for name in known if len(name) == 2}
    wrong, seen = [], 0
    for page in [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]:
        if page.name == "cli.md" and page.parent.name == "reference":
            continue
        for typed in _TYPED.findall(page.read_text()):
            words = typed.split()
            name = tuple(words[: 2 if (words[0],) in groups else 1])
            if name[0].startswith("-"):
                continue
            seen += 1
            command = known.get(name)
            given = {word.partition("=")[0] for word in words if re.fullmatch(r"--?[a-z][a-z-]*(=.*)?", word)}
            if command is None or given - options(command):
                wrong.append((page.name, typed))
    assert wrong == []
    assert seen > 20
