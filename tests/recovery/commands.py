"""Runs commands for installations of tests, each in a process of its own that begins with everything imported.

`python -m tests.recovery.commands` reads one JSON request a line ({"argv", "environment", "output"}), forks, lets the
child read its settings anew from the environment given, and answers with its exit code. It is as if `manage.py` had
been started, without the second that the imports take.
"""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import django

ROOT = Path(__file__).resolve().parents[2]


class Runner:
    """The process that forks; one is enough for any number of installations."""

    def __init__(self, environment):
        command = [sys.executable, "-m", "tests.recovery.commands"]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, argv, environment, output):
        """Run a command, its words written into the file `output`; return its exit code."""
        request = {"argv": list(argv), "environment": environment, "output": str(output)}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def stop(self):
        """End it."""
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


def serve():
    """Answer requests until there are no more."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os._exit(_child(request))
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _child(request):
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    argv = request["argv"]
    try:
        if argv[0] == "acts":
            _settle(request["environment"])
            from tests.recovery import acts

            acts.main(argv[1:])
        else:
            import manage

            owner = {"PLACET_PROCESS": "owner"} if argv[0] in manage.OWNER_COMMANDS else {}
            _settle(request["environment"] | owner)
            sys.argv = ["manage.py", *argv]
            manage.main()
        return 0
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - told as an interpreter tells it
        sys.excepthook(*sys.exc_info())
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _settle(environment):
    """Read the settings anew, as a process that starts with this environment does."""
    from django.conf import settings
    from django.db import connections

    import config.settings

    os.environ.clear()
    os.environ.update(environment)
    fresh = importlib.reload(config.settings)
    for name in filter(str.isupper, dir(fresh)):
        setattr(settings, name, getattr(fresh, name))
    connections._settings = None
    connections.__dict__.pop("settings", None)
    for begun in connections.all(initialized_only=True):
        del connections[begun.alias]


if __name__ == "__main__":
    serve()
