"""Every leaf, every reading of it, every recogniser; one list of findings."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import lru_cache

from gateway.sanitize import assigned, hidden, injection, markup, pii, providers, secrets, views
from gateway.sanitize.findings import JSON, RANK, Finding, SanitizerFailed, Severity
from gateway.sanitize.markers import cut
from gateway.sanitize.recognisers import Budget, Family, Recogniser, Span, joined, sweep
from gateway.sanitize.views import View
from gateway.sanitize.walk import TEXT, Leaf, leaves, pointer, step

CANDIDATES = 30_000  # places looked at in one value
MOST = 10_000  # findings in one value

_FINDING = (
    *(*providers.RECOGNISERS, *secrets.RECOGNISERS, *assigned.RECOGNISERS),
    *pii.RECOGNISERS,
    *injection.RECOGNISERS,
    *markup.RECOGNISERS,
)
# What makes a text worth another reading.
_ENCODED, _CONTROL, _ESCAPED = range(len(_FINDING), len(_FINDING) + 3)
# One set for all: one look at a text costs less than five.
_FAMILY = Family(
    (
        *_FINDING,
        Recogniser("view.encoded", "low", r"[A-Za-z0-9+/_-]{24}[A-Za-z0-9+/_-]*={0,2}"),
        Recogniser("view.control", "low", r"[\x00-\x08\x0b\x0e-\x1f\x7f]"),
        Recogniser("view.escaped", "low", views.ESCAPE),
    )
)
# Kinds that name a secret by its surroundings; one that names it by its form says more.
_VAGUE = ("secret.password", "secret.assigned", "secret.bearer", "secret.model_key")
_NAME_KEPT = 100  # code points of a name whose meaning is remembered

Hit = tuple[str, Span]


def scan(value: JSON) -> list[Finding]:
    """Return what the recognisers find in the strings, keys and numbers of `value`, in document order.

    :raises SanitizerFailed: the value is too large, too deep, no JSON, or the engine gave no answer.
    """
    places = leaves(value)
    # Each text once: objects of one kind have the same keys.
    hits = _hits(list(dict.fromkeys(map(TEXT, places))))
    findings: list[Finding] = []
    unsafe: dict[str, str] = {}  # pointer of a key that holds a secret -> its safe last step
    meanings: dict[str, str] = {"": ""}
    for leaf in places:
        text, _, name, role = leaf
        found = hits.get(text, [])
        if role == "value":
            if name not in meanings:
                # Whoever sends long names must not fill our memory with them.
                meanings[name] = _meaning(name) if len(name) <= _NAME_KEPT else _meaning.__wrapped__(name)
            if meanings[name]:
                found = [*found, *_named(meanings[name], text)]
        elif role == "number":
            found = [hit for hit in found if hit[0] == "pii.card"]
        if found:
            findings += _findings(leaf, _distinct(found), unsafe)
            if len(findings) > MOST:
                raise SanitizerFailed("sanitizer_too_many", f"The value has more than {MOST} findings.")
    return findings


def _hits(texts: list[str]) -> dict[str, list[Hit]]:
    """Return what stands in each of `texts` in any reading; a text without anything is left out."""
    budget = Budget(CANDIDATES)
    hits: list[list[Hit]] = [[] for _ in texts]
    every = joined(texts)
    seen = _FAMILY.matching(every)
    for index, hit in sweep(texts, _FAMILY, _finding(seen), budget):
        hits[index].append(hit)
    if not every.isascii() or _CONTROL in seen:
        for index, text in enumerate(texts):
            hits[index] += _hidden(text)
    _add(_readings(texts, every, seen, budget), _FAMILY, texts, hits, budget)
    if (letters := views.leet(every)) and injection.FAMILY.matching(letters.text):
        leet = [(index, view) for index, text in enumerate(texts) if (view := views.leet(text))]
        _add(leet, injection.FAMILY, texts, hits, budget)
    return {text: found for text, found in zip(texts, hits, strict=True) if found}


def _readings(texts: list[str], every: str, seen: list[int], budget: Budget) -> list[tuple[int, View]]:
    """Return what else `texts` can be read as, each with the number of its text."""
    readings: list[tuple[int, View]] = []
    if not every.isascii() or _ESCAPED in seen:
        readings += ((index, view) for index, text in enumerate(texts) for view in _undisguised(text))
    if _ENCODED in seen:
        for index, (_, (start, end, _severity)) in sweep(texts, _FAMILY, (_ENCODED,), budget):
            if view := views.decoded(texts[index], start, end):
                readings.append((index, view))
    # What was decoded is read once more without its disguise.
    return readings + [(index, plain) for index, view in readings if (plain := views.folded_again(view))]


def _undisguised(text: str) -> Iterator[View]:
    if not text.isascii():
        if view := views.folded(text):
            yield view
        yield from views.smuggled(text)
    if view := views.unescaped(text):
        yield view


def _add(
    readings: list[tuple[int, View]], family: Family, texts: list[str], hits: list[list[Hit]], budget: Budget
) -> None:
    """Add to the `hits` of `texts` what is found in other `readings` of them."""
    if not readings:
        return
    others = [view.text for _, view in readings]
    found = sweep(others, family, _finding(family.matching(joined(others))), budget)
    for number, (kind, (start, end, severity)) in found:
        index, view = readings[number]
        first, last = view.source(start, end)
        hits[index].append((kind, (first, min(last, len(texts[index])), severity)))


def _finding(seen: Iterable[int]) -> list[int]:
    """Return those of the recognisers `seen` that stand for a finding, not for another reading."""
    return [number for number in seen if number < len(_FINDING)]


@lru_cache(maxsize=4096)
def _meaning(name: str) -> str:
    """Return what a value called `name` is by its name: a `password`, a `token`, a `phone` or nothing known."""
    return assigned.credential_name(name) or ("phone" if pii.PHONE_NAME.search(name) else "")


def _named(meaning: str, text: str) -> Iterator[Hit]:
    """A value whose key says that it is a secret or a telephone number."""
    if not text:
        return
    if meaning == "phone":
        if pii.phone_number(text):
            yield "pii.phone", (0, len(text), "medium")
    elif severity := assigned.value_severity(meaning, text):
        yield ("secret.password" if meaning == "password" else "secret.assigned"), (0, len(text), severity)


def _hidden(text: str) -> list[Hit]:
    """One hit per kind, from the first to the last of its places."""
    worst: dict[str, tuple[int, int, Severity]] = {}
    for kind, severity, start, end in hidden.find(text):
        if kind in worst:
            first, last, before = worst[kind]
            start, end = min(first, start), max(last, end)
            severity = max(before, severity, key=RANK.__getitem__)
        worst[kind] = (start, end, severity)
    return list(worst.items())


def _distinct(hits: Iterable[Hit]) -> list[Hit]:
    """Return the hits in order: overlapping ones of a kind merged, and no vague secret inside an exact one."""
    merged: list[Hit] = []
    for kind, (start, end, severity) in sorted(hits, key=lambda hit: (hit[0], hit[1][0], -hit[1][1])):
        if merged and merged[-1][0] == kind and start < merged[-1][1][1]:
            first, last, before = merged[-1][1]
            merged[-1] = (kind, (first, max(last, end), max(before, severity, key=RANK.__getitem__)))
        elif start < end:
            merged.append((kind, (start, end, severity)))
    exact = sorted(span[:2] for kind, span in merged if kind.startswith("secret.") and kind not in _VAGUE)
    kept = [hit for hit in merged if hit[0] not in _VAGUE or not _inside(hit[1], exact)]
    return sorted(kept, key=lambda hit: (hit[1][0], hit[1][1], hit[0]))


def _inside(span: Span, spans: list[tuple[int, int]]) -> bool:
    index = bisect_right(spans, (span[0], 1 << 60)) - 1
    return index >= 0 and span[1] <= spans[index][1]


def _findings(leaf: Leaf, hits: list[Hit], unsafe: dict[str, str]) -> Iterator[Finding]:
    text, place, _, role = leaf
    true = pointer(place)
    if role == "key":
        telling = [(start, end, kind) for kind, (start, end, _) in hits if kind.startswith(("secret.", "pii."))]
        if telling:
            unsafe[true] = step("", cut(text, telling))
    path = _safe(true, unsafe)
    for kind, (start, end, severity) in hits:
        yield Finding(kind, path, severity, start, end, role == "key", None if path == true else true)


def _safe(true: str, unsafe: dict[str, str]) -> str:
    """Return a pointer with markers for the secrets in its keys: paths go into records, secrets do not."""
    if not unsafe:
        return true
    path = prefix = ""
    for token in true.split("/")[1:]:
        prefix += "/" + token
        path += unsafe.get(prefix, "/" + token)
    return path
