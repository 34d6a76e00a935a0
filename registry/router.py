"""The generated router: floor AND baseline AND the release's policy, one static branch per policy. Pure.

`data.placet.decision` is undefined, which is a deny, unless the floor, a branch for `input.baseline` and a branch
for `input.agent.policy` each give a layer. No text of an author's stands in the router, only digests.
"""

from collections.abc import Iterable, Mapping

from registry import rendering

DECISION = "data.placet.decision"
PATH = "router.rego"
_OPTIONAL = ("reasons", "obligations", "labels")
_HEAD = """# METADATA
# title: Router
# description: Generated for one revision; see registry/router.py.
package placet

import future.keywords.not

decision := {
	"allow": allow,
	"layers": {"floor": floor.allow, "baseline": baseline.allow, "release": release.allow},
	"reasons": array.concat(floor_reasons, array.concat(baseline_reasons, release_reasons)),
	"obligations": array.concat(floor.obligations, array.concat(baseline.obligations, release.obligations)),
	"labels": array.concat(floor.labels, array.concat(baseline.labels, release.labels)),
}

default allow := false

allow if {
	floor.allow == true
	baseline.allow == true
	release.allow == true
}

floor_reasons := [object.union(reason, {"layer": "floor"}) | some reason in floor.reasons]

baseline_reasons := [object.union(reason, {"layer": "baseline"}) | some reason in baseline.reasons]

release_reasons := [object.union(reason, {"layer": "release"}) | some reason in release.reasons]
"""
# A rule has to be there for the text to compile; no digest is empty, so this one never speaks.
_NOBODY = """{layer} := {{"allow": false, "reasons": [], "obligations": [], "labels": []}} if {selector} == ""
"""


def generate(
    rules: Mapping[str, Iterable[str]], *, floor: str, baselines: Iterable[str], releases: Iterable[str]
) -> str:
    """Return the router's text.

    :param rules: digest -> names of the rules in the policy's root package; a rule that a policy lacks is empty.
    :param floor: digest of the floor.
    :param baselines, releases: digests of the policies that may stand at that place.
    """
    parts = [_HEAD, f"floor := {_layer(floor, rules)}\n"]
    for layer, selector, digests in (
        ("baseline", "input.baseline", baselines),
        ("release", "input.agent.policy", releases),
    ):
        branches = [_branch(layer, selector, digest, rules) for digest in sorted(set(digests))]
        parts += branches or [_NOBODY.format(layer=layer, selector=selector)]
    return "\n".join(parts)


def layer_module(digest: str, rules: Iterable[str]) -> str:
    """Return a module with one policy as `data.placet.layer`: how admission looks at it by itself."""
    return f"package placet\n\nlayer := {_layer(digest, {digest: rules})}\n"


def _branch(layer: str, selector: str, digest: str, rules: Mapping[str, Iterable[str]]) -> str:
    return f'{layer} := {_layer(digest, rules)} if {selector} == "{digest}"\n'


def _layer(digest: str, rules: Mapping[str, Iterable[str]]) -> str:
    place = f"data.placet.{rendering.root(digest)}"
    has = set(rules[digest])
    members = [f'"allow": {place}.allow']
    members += [
        f'"{name}": [one | some one in {place}.{name}]' if name in has else f'"{name}": []' for name in _OPTIONAL
    ]
    return "{" + ", ".join(members) + "}"
