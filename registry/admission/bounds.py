"""What a policy may take up, at admission and afterwards."""

import os

MAX_FILES = 32
MAX_BYTES = 262_144  # modules, tests and data together, canonical JSON
MAX_LINE = 900  # characters; the engine reads at most 1024 of a line, and rendering lengthens it
MAX_BRACKETS = 8  # nesting; the engine's parser takes exponential time in it
CPU_SECONDS = 10  # of the whole admission
MEMORY_BYTES = 1 << 30
WALL_SECONDS = 60.0
SLOWEST_SECONDS = 0.1  # CPU of one evaluation; the PDP's own limit is far above
# For a process that evaluates. The engine's allocator would reserve 1 GiB of addresses at once; its stack traces
# serve nobody; nothing else of ours is handed on: no passwords, no address of a database.
ENVIRONMENT = {"PATH": os.defpath, "LANG": "C.UTF-8", "MIMALLOC_ARENA_RESERVE": "64MiB", "RUST_BACKTRACE": "0"}
