"""The portable-Rego gate: forms that both engines read alike, that end, and that stay inside the policy's own root.

It looks at the syntax tree of the *rendered* text, so it also proves that rendering left no way out. Pure.
"""

import graphlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from registry.admission import builtins, syntax
from registry.admission.syntax import Call, Reference, Rule

ENTRY = ("allow", "reasons", "obligations", "labels")
_IMPORTS = {"rego.v1"} | {f"future.keywords.{word}" for word in ("not", "in", "every", "if", "contains")}
_NOT = "import future.keywords.not is needed where `not` is used: without it a missing value makes `not` undefined."
_VERBS = re.compile(r"%(.?)", re.DOTALL)
_LARGEST = 2**53 - 1
Place = tuple[str, ...]  # path of a package below the policy's root


class Module:
    """One rendered module: its tree, text, place and imports."""

    def __init__(self, path: str, tree: Any, text: str, root: str) -> None:
        self.path = path
        self.text = text
        self.tree = tree
        self.rules = list(syntax.rules(tree))
        reference = syntax.package(tree)
        names = (reference.root, *reference.parts) if reference else ()
        self.inside = names[:2] == ("placet", root) and None not in names
        self.place: Place = tuple(str(name) for name in names[2:])
        self.imports: dict[str, Reference] = {}
        self.problems: list[str] = []
        self.has_not = False
        for item in tree["imports"]:
            self._import(item)

    def report(self, line: int, problem: str) -> None:
        """Note `problem` at `line` of the author's file; rendering keeps lines."""
        self.problems.append(f"{self.path}:{line}: {problem}")

    def _import(self, item: Any) -> None:
        target = syntax.reference(item["refr"])
        line = syntax.line(item)
        if target is None or None in target.parts:
            self.report(line, "an import must name its target.")
            return
        dotted = ".".join([target.root, *map(str, target.parts)])
        self.has_not |= dotted == "future.keywords.not"
        if target.root in ("data", "input") and target.parts:
            span = item.get("as")
            alias = self.text.encode()[span["start"] : span["end"]].decode() if span else str(target.parts[-1])
            if alias in builtins.KEYWORDS or alias in builtins.RESERVED:
                self.report(line, f"an import may not be called {alias}.")
            self.imports[alias] = target
        elif dotted not in _IMPORTS:
            self.report(line, f"import {dotted} is not portable.")


def check(trees: Mapping[str, Any], texts: Mapping[str, str], *, root: str, data: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a policy's modules, one sentence each with file and line; empty if nothing is.

    :param trees, texts: by path, of the rendered modules.
    :param root: the package below `placet` (rendering.root).
    :param data: the policy's data.
    """
    modules = [Module(path, tree, texts[path], root) for path, tree in trees.items()]
    known: dict[tuple[Place, str], Rule] = {}
    for module in modules:
        if not module.inside:
            module.report(syntax.line(module.tree["package"]), "the package must be policy or policy.x.")
        for rule in module.rules:
            known.setdefault((module.place, rule.name), rule)
    packages = {module.place[:length] for module in modules for length in range(len(module.place) + 1)}
    graph: dict[tuple[Place, str], set[tuple[Place, str]]] = {}
    for module in modules:
        _forms(module, {name for place, name in known if place == module.place})
        for rule in module.rules:
            _rule(module, rule)
            targets = graph.setdefault((module.place, rule.name), set())
            targets |= _calls(module, rule, known, packages, data, root)
    problems = [problem for module in modules for problem in module.problems]
    return problems + _entry(known, packages, data) + _cycles(graph)


def check_tests(trees: Mapping[str, Any], texts: Mapping[str, str], *, root: str) -> list[str]:
    """Return what is wrong with test modules: they have a package of their own and replace the whole input."""
    problems = []
    for path, tree in trees.items():
        module = Module(path, tree, texts[path], f"{root}_test")
        if not module.inside or module.place:
            module.report(syntax.line(tree["package"]), "the package of tests must be policy_test.")
        if not module.has_not and any(syntax.nodes(tree["rules"], "NotExpr")):
            module.report(1, _NOT)
        own = {rule.name for rule in module.rules}
        for rule in module.rules:
            for use in syntax.uses(rule.nodes):
                if (
                    isinstance(use, Call)
                    and use.name.split(".")[0] not in own | {"data"}
                    and use.name not in builtins.TESTS
                ):
                    module.report(use.line, f"{use.name} is not a function that tests may call.")
        for statement in syntax.statements(tree["rules"]):
            for modifier in statement["with_mods"]:
                target = syntax.reference(modifier["refr"])
                if target is None or (target.root == "input" and target.parts) or target.root not in ("input", "data"):
                    module.report(
                        syntax.line(modifier), "`with` may replace the whole input or data.policy..., nothing else."
                    )
        problems += module.problems
    return problems


def _forms(module: Module, names: set[str]) -> None:
    """Check what may stand anywhere in a module."""
    tree = module.tree["rules"]
    if not module.has_not and any(syntax.nodes(tree, "NotExpr")):
        module.report(1, _NOT)
    for statement in syntax.statements(tree):
        module.report(syntax.line(statement), "`with` belongs in tests.")
    for _, body in syntax.nodes(tree, "Number"):
        if not isinstance(body["value"], int) or abs(body["value"]) > _LARGEST:
            module.report(syntax.line(body), "only integers within 2^53 are compared alike: state money in millionths.")
    for _, body in syntax.nodes(tree, "ArithExpr"):
        if body["op"] == "Div":
            module.report(syntax.line(body), "division gives fractions: multiply the other side instead.")
    for _, body in syntax.nodes(tree, "RefDot"):
        if body["field"][1] in builtins.KEYWORDS:
            module.report(syntax.line(body), f'a keyword as a field is not portable: write ["{body["field"][1]}"].')
    _names(module, names)


def _names(module: Module, names: set[str]) -> None:
    """Check that no variable hides a rule: the call graph would be another one than it seems."""
    declared = list(syntax.bound(module.tree["rules"], module.text))
    for rule in module.rules:
        if rule.function:
            declared += syntax.variables(rule.nodes[0])
    for name, line in declared:
        if name in ("input", "data") or name in module.imports or name in names:
            module.report(line, f"the variable {name} hides a rule, an import, input or data: give it another name.")


def _rule(module: Module, rule: Rule) -> None:
    if rule.name in builtins.RESERVED or rule.name in builtins.KEYWORDS:
        module.report(rule.line, f"a rule may not be called {rule.name}: that is a builtin's name.")
    if rule.name.startswith("test_"):
        module.report(rule.line, "rules called test_... belong in the policy's tests.")
    parts = rule.target.parts if rule.target else (None, None)
    if len(parts) > 1 or (parts and (parts[0] is not None or rule.partial)):
        module.report(rule.line, "a rule's name is one word, or one word with a computed key.")
    if rule.gathers and any(syntax.nodes(rule.head, "RefDot", "RefBrack", "Call")):
        # regorus drops the whole rule, OPA only the element, when such a head is undefined for one element.
        module.report(
            rule.line, "what a rule gathers must be bound in its body first: one := {...}, then contains one."
        )


def _calls(
    module: Module,
    rule: Rule,
    known: Mapping[tuple[Place, str], Rule],
    packages: set[Place],
    data: Mapping[str, Any],
    root: str,
) -> set[tuple[Place, str]]:
    """Return the rules that `rule` may evaluate, and report references to anything that is not the policy's own."""
    found: set[tuple[Place, str]] = set()
    for use in syntax.uses(rule.nodes):
        if isinstance(use, Call):
            name, *rest = use.name.split(".")
            if not rest and (module.place, name) in known:
                found.add((module.place, name))
            elif name == "data" or name in module.imports:
                reference = _whole(module, Reference(name, tuple(rest), use.line))
                found |= _resolve(module, reference, known, packages, data, root, call=True)
            elif use.name not in builtins.POLICY:
                module.report(use.line, f"{use.name} is not a function that portable policies may call.")
            else:
                _arguments(module, use)
            continue
        reference = _whole(module, use)
        if reference.root == "data":
            found |= _resolve(module, reference, known, packages, data, root, call=False)
        elif (module.place, reference.root) in known:
            found.add((module.place, reference.root))
    return found


def _whole(module: Module, reference: Reference) -> Reference:
    """Return `reference` with an import's name written out."""
    target = module.imports.get(reference.root)
    if target is None:
        return reference
    return Reference(target.root, target.parts + reference.parts, reference.line)


def _resolve(
    module: Module,
    reference: Reference,
    known: Mapping[tuple[Place, str], Rule],
    packages: set[Place],
    data: Mapping[str, Any],
    root: str,
    *,
    call: bool,
) -> set[tuple[Place, str]]:
    if reference.root != "data" or reference.parts[:2] != ("placet", root):
        module.report(reference.line, "data may be read only as data.policy...")
        return set()
    place: Place = ()
    for part in reference.parts[2:]:
        if part is not None and (place, part) in known:
            return {(place, part)}
        if part is not None and (*place, part) in packages:
            place = (*place, part)
        elif part is not None and not place and part in data and not call:
            return set()
        else:
            break
    module.report(reference.line, "a reference to data.policy must name one of its rules or a member of its data.")
    return set()


def _arguments(module: Module, call: Call) -> None:
    if call.name == "walk" and len(call.arguments) != 2:
        module.report(call.line, "write walk(x, [path, value]): the other form differs between engines.")
    if call.name == "sprintf":
        template = call.arguments[0].get("String") if call.arguments else None
        verbs = set(_VERBS.findall(template["value"])) if template else {""}
        if not verbs <= {"v", "%"}:
            module.report(call.line, "sprintf needs a literal text with %v only.")
    if call.name in ("regex.match", "glob.match"):
        first = next(iter(call.arguments[0]), "") if call.arguments else ""
        if first not in ("String", "RawString"):
            module.report(call.line, f"the pattern of {call.name} must be a literal.")


def _entry(known: Mapping[tuple[Place, str], Rule], packages: set[Place], data: Mapping[str, Any]) -> list[str]:
    problems = []
    if () not in packages or ((), "allow") not in known:
        problems.append("package policy needs a rule allow.")
    functions = {name for name in ENTRY if ((), name) in known and known[(), name].function}
    problems += [f"{name} of package policy must be a plain rule, not a function." for name in sorted(functions)]
    names, below = {name for place, name in known if not place}, {place[0] for place in packages if place}
    taken = (names | below) & set(data)
    problems += [f"data has a member {name}, which is also a rule or package." for name in sorted(taken)]
    problems += [f"{name} is both a rule and a package." for name in sorted(names & below)]
    return problems


def _cycles(graph: Mapping[tuple[Place, str], Iterable[tuple[Place, str]]]) -> list[str]:
    try:
        list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        path = " -> ".join(".".join([*place, name]) for place, name in error.args[1])
        return [f"recursion: {path}."]
    return []
