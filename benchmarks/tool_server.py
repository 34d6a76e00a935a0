"""The tool server of a benchmark, as a process. No Django: its port is among the settings."""

import subprocess
import sys


class ToolServer:
    """The MCP SDK's server with the benchmark's tool, on a port of its own."""

    def __enter__(self) -> "ToolServer":
        command = [sys.executable, "-m", "benchmarks.mcp_server"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
