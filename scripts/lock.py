"""Pin the requirements with hashes, and carry the reason of each direct package into requirements.txt."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = Path(sys.executable).parent / "uv"
DIRECT = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*\])?[^#]*#\s*(?P<reason>.+)$")


def main() -> None:
    for stem in ("requirements", "requirements-dev", "requirements-tools"):
        source, target = ROOT / f"{stem}.in", ROOT / f"{stem}.txt"
        options = ["--quiet", "--generate-hashes", "--python-version", "3.11", "--no-header", "--no-emit-index-url"]
        options += ["--no-annotate"]
        subprocess.run([UV, "pip", "compile", *options, source.name, "-o", target.name], cwd=ROOT, check=True)
        reasons = {}
        for line in source.read_text().splitlines():
            if match := DIRECT.match(line):
                reasons[match["name"].lower().replace("_", "-").replace(".", "-")] = match["reason"]
        pinned = [f"# Made by `make lock` from {source.name}; do not edit by hand."]
        for line in target.read_text().splitlines():
            name = re.split(r"[=\[ ]", line)[0].lower().replace(".", "-")
            if name in reasons and "==" in line:
                pinned.append(f"# {reasons[name]}")
            pinned.append(line)
        target.write_text("\n".join(pinned) + "\n")


if __name__ == "__main__":
    main()
