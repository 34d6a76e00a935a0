"""Runs as a process of its own, between the gateway and a tool server: gives up rights, then becomes the server.

Only the standard library and no import of ours: `python -I -S confine.py '{"parent": …}' COMMAND…`. A fork hook in the
gateway would run Python between fork and exec of a process with threads.
"""

import ctypes
import json
import os
import pwd
import resource
import signal
import sys

TOOL_UID = 64_700  # not `nobody`: the embedded PostgreSQL runs as that
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 24, 38
_LIMITS = {
    "cpu_seconds": resource.RLIMIT_CPU,
    "memory_bytes": resource.RLIMIT_AS,
    "open_files": resource.RLIMIT_NOFILE,
    "file_bytes": resource.RLIMIT_FSIZE,
    "processes": resource.RLIMIT_NPROC,
}
_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    wanted, command = json.loads(sys.argv[1]), sys.argv[2:]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name, amount in wanted["limits"].items():
        if amount is not None:
            _limit(_LIMITS[name], amount)
    if os.geteuid() == 0:
        _become(wanted["user"], wanted["reach"], sandboxed=wanted["sandboxed"])
    os.umask(0o077)
    os.chdir(wanted["cwd"])
    # After the change of user, which would clear the death signal.
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != wanted["parent"]:
        sys.exit("the gateway ended before its tool server began")
    os.execvpe(command[0], command, os.environ)  # noqa: S606 - the operator's command, without a shell


def _limit(what: int, amount: int) -> None:
    _, ceiling = resource.getrlimit(what)
    if ceiling != resource.RLIM_INFINITY:
        amount = min(amount, ceiling)
    resource.setrlimit(what, (amount, amount))


def _become(user: str | int, needed: list[str], *, sandboxed: bool) -> None:
    """Change to `user`; `auto`: the tools' own uid where that can reach the command, else root without its powers."""
    if user == "auto":
        if _reachable(TOOL_UID, needed):
            _change(TOOL_UID, TOOL_UID)
        else:
            sys.stderr.write(f"uid {TOOL_UID} cannot reach {needed}: keeping root, without capabilities\n")
            _drop_capabilities(sandboxed=sandboxed)
    elif user == "self":
        _drop_capabilities(sandboxed=sandboxed)
    else:
        entry = pwd.getpwnam(user) if isinstance(user, str) and not user.isdigit() else None
        uid, gid = (entry.pw_uid, entry.pw_gid) if entry else (int(user), int(user))
        _change(uid, gid)


def _change(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def _reachable(uid: int, paths: list[str]) -> bool:
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(uid)
    os.seteuid(uid)
    try:
        return all(os.access(path, os.X_OK, effective_ids=True) for path in paths if os.sep in path)
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def _drop_capabilities(*, sandboxed: bool) -> None:
    """Leave root its files but none of its powers: no reading past permissions, no signalling of other users."""
    if sandboxed:
        return  # bubblewrap needs them to map root into its namespace, and drops them itself
    for capability in range(64):
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    _libc.capset(header, (ctypes.c_uint32 * 6)())


if __name__ == "__main__":
    main()
