"""The subprocess of admission: parse, gate, tests, deletion test of one policy. It may be killed at any moment.

Reads {"content", "schema", "example"} from standard input; writes one JSON line per finished check:
{"name", "passed", "output"}. It has no database, no network and no secrets; its arguments are its limits: seconds of
CPU, bytes of memory.
"""

import json
import resource
import sys
from collections.abc import Callable, Mapping
from typing import Any

from audit import canonical
from registry import rego, rendering, router
from registry.admission import bounds, deletion, portable, syntax, trials

_SHOWN = 40


def main() -> None:
    """Run the checks in order; the first that fails ends the run."""
    seconds, size = map(int, sys.argv[1:])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    task = json.load(sys.stdin)
    for name, passed, output in checks(task["content"], schema=task["schema"], example=task["example"]):
        sys.stdout.write(json.dumps({"name": name, "passed": passed, "output": output}) + "\n")
        sys.stdout.flush()
        if not passed:
            return


def checks(content: Mapping[str, Any], *, schema: Any, example: Any) -> Any:
    """Yield (name, passed, output) of portable, tests, time and deletion."""
    digest = canonical.sha256(dict(content))
    root = rendering.root(digest)
    data = content.get("data") or {}
    under = {"placet": {root: data}}
    modules = {path: rendering.render_text(text, root, field=path) for path, text in content["modules"].items()}
    tests = {path: rendering.render_text(text, root, field=path, tests=True) for path, text in content["tests"].items()}

    def gate() -> list[str]:
        trees = rego.parse(modules)
        problems = portable.check(trees, modules, root=root, data=data)
        return problems + portable.check_tests(rego.parse(tests), tests, root=root)

    yield _result("portable", gate)
    ran = trials.Trials()

    def own_tests() -> list[str]:
        nonlocal ran
        ran = trials.run(modules, under, tests, root=root)
        if not ran.count:
            return ["a policy needs tests: rules test_... in package policy_test."]
        return [f"failed: {failure}" for failure in ran.failed]

    yield _result("tests", own_tests, lambda: f"{ran.count} tests passed")
    names = {rule.name for tree in rego.parse(modules).values() if not _below(tree) for rule in syntax.rules(tree)}
    layer = deletion.Layer({**modules, "layer.rego": router.layer_module(digest, names)}, under, "data.placet.layer")
    coverage = ""

    def slow() -> list[str]:
        for document in [*ran.inputs, *deletion.variants(example)]:
            layer.verdict(document)
            if layer.slowest > bounds.SLOWEST_SECONDS:
                took, most = layer.slowest * 1000, bounds.SLOWEST_SECONDS * 1000
                return [f"one evaluation took {took:.0f} ms of CPU; at most {most:.0f} ms are admitted."]
        return []

    yield _result("time", slow, lambda: f"slowest evaluation {layer.slowest * 1000:.1f} ms of CPU")

    def deletions() -> list[str]:
        nonlocal coverage
        problems, coverage = deletion.check(layer, ran.inputs, schema=schema, example=example)
        return problems

    yield _result("deletion", deletions, lambda: coverage)


def _below(tree: Any) -> bool:
    """Say whether a module's package lies below the policy's root package."""
    package = syntax.package(tree)
    return package is not None and len(package.parts) > 1


def _result(name: str, run: Callable[[], list[str]], said: Callable[[], str] = str) -> tuple[str, bool, str]:
    try:
        problems = run()
    except rego.RegoFailed as failed:
        problems = [failed.detail]
    if not problems:
        return name, True, said()
    more = [f"... and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
    return name, False, "\n".join(problems[:_SHOWN] + more)


if __name__ == "__main__":
    main()
