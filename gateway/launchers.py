"""Tool servers of this deployment: which command a launcher's name stands for, and how far it is trusted.

A stdio server is code execution, so a contract names a launcher and only the operator's file names a command.
"""

import shutil
from functools import cached_property
from typing import Literal

from django.conf import settings
from pydantic import BaseModel, ConfigDict, Field, field_validator

from audit import canonical
from gateway import deployment


class LauncherUnknown(Exception):
    """The deployment's configuration has no launcher of that name."""


class LaunchersInvalid(Exception):
    """The launchers file cannot be used; the text names the launcher, the member and what is wrong."""


class Limits(BaseModel):
    """Resource limits of the server process (setrlimit); unset means the gateway's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    cpu_seconds: int | None = Field(default=None, ge=1, description="Processor time over its whole life.")
    memory_bytes: int | None = Field(
        default=None, ge=64 << 20, description="Address space. Node and Java reserve far more than they use."
    )
    open_files: int = Field(default=1024, ge=16)
    file_bytes: int = Field(default=1 << 30, ge=0, description="Largest file that it may write.")
    processes: int | None = Field(default=None, ge=1, description="Processes and threads of its user, all together.")


class Launcher(BaseModel):
    """One tool server that this deployment offers to contracts."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    command: tuple[str, ...] = Field(min_length=1)
    cwd: str = "/"
    env: dict[str, str] = {}
    secrets: dict[str, str] = Field(
        default={}, description="Variable -> file below PLACET_HOME/secrets with its value."
    )
    stateful: bool = Field(default=False, description="One process per session instead of one per release.")
    user: str | int = Field(default="auto", description="auto, self, a user name or a uid; only root can change it.")
    sandbox: Literal["none", "auto", "bubblewrap"] = "none"
    read_only: tuple[str, ...] = Field(default=("/",), description="Paths the sandbox shows, read only.")
    writable: tuple[str, ...] = Field(default=(), description="Paths the sandbox shows, writable.")
    network: bool = Field(default=False, description="Whether the sandbox keeps the network.")
    limits: Limits = Limits()

    @field_validator("user")
    @classmethod
    def _not_root(cls, user: str | int) -> str | int:
        if user in {"root", 0, "0", ""}:
            raise ValueError("a tool server does not run as root by name; use self if you mean the gateway's own user")
        return user

    @cached_property
    def digest(self) -> str:
        """Changes when the operator edits the launcher: a running child of the old text is not used any more."""
        return canonical.sha256(self.model_dump(mode="json"))

    def environment(self) -> dict[str, str]:
        """Return the whole environment of the server: nothing of ours is inherited.

        :raises LaunchersInvalid: a secret's file cannot be read.
        """
        variables = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": "/nonexistent",
            "SHELL": "/bin/false",
            "TERM": "dumb",
            "LANG": "C.UTF-8",
            "USER": "tool",
            "LOGNAME": "tool",
        } | self.env
        for variable, file in self.secrets.items():
            try:
                variables[variable] = deployment.secret(file)
            except deployment.DeploymentInvalid as error:
                raise LaunchersInvalid(f"launchers.{self.name}.secrets.{variable}: {error}") from error
        return variables

    def bubblewrap(self) -> list[str]:
        """Return the sandbox that goes before the command; empty if none is asked for or `auto` finds none.

        :raises LaunchersInvalid: the launcher demands bubblewrap and it is not installed.
        """
        program = shutil.which("bwrap") if self.sandbox != "none" else None
        if program is None:
            if self.sandbox == "bubblewrap":
                raise LaunchersInvalid(f"launchers.{self.name}: sandbox is bubblewrap, but bwrap is not installed.")
            return []
        words = [program, "--die-with-parent", "--new-session", "--unshare-all", "--cap-drop", "ALL"]
        if self.network:
            words.append("--share-net")
        for path in self.read_only:
            words += ["--ro-bind", path, path]
        words += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]  # noqa: S108 - the sandbox's own /tmp
        for path in self.writable:
            words += ["--bind", path, path]
        return [*words, "--chdir", self.cwd, "--"]


def get(name: str) -> Launcher:
    """Return the launcher `name`; an edited file counts from the next call on.

    :raises LauncherUnknown: the file has none of that name.  :raises LaunchersInvalid: the file is wrong.
    """
    try:
        return deployment.entries("launchers", Launcher)[name]
    except deployment.DeploymentInvalid as error:
        raise LaunchersInvalid(str(error)) from error
    except KeyError:
        raise LauncherUnknown(
            f"{settings.PLACET_LAUNCHERS} has no launcher {name!r}; add [launchers.{name}]."
        ) from None
