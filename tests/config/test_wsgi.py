"""The web process can start: what the front door needs is there before Django is set up."""

import subprocess
import sys
from pathlib import Path

from django.conf import settings

ROOT = Path(__file__).resolve().parents[2]


def test_the_application_is_imported_as_the_web_server_imports_it():
    environment = {"PATH": "/usr/bin:/bin", "PLACET_HOME": str(settings.PLACET_HOME), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", "from config.wsgi import application; print(callable(application))"]
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr[-2000:]
