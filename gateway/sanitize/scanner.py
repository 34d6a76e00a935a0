"""Every leaf, every reading of it, every recogniser; one list of findings."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

from gateway.sanitize import assigned, hidden, injection, markup, pii, providers, secrets, views
from gateway.sanitize.findings import JSON, RANK, Finding, SanitizerFailed, Severity
from gateway.sanitize.markers import cut
from gateway.sanitize.recognisers import Budget, Family, Recogniser, Span, sweep
from gateway.sanitize.views import View
from gateway.sanitize.walk import Leaf, leaves, step

CANDIDATES = 30_000  # places looked at in one value
MOST = 10_000  # findings in one value

_SECRETS = Family((*providers.RECOGNISERS, *secrets.RECOGNISERS, *assigned.RECOGNISERS))
_PERSONAL = Family(pii.RECOGNISERS)
_ENCODED = Family((Recogniser("view.encoded", "low", r"[A-Za-z0-9+/_-]{24}[A-Za-z0-9+/_-]*={0,2}"),))
# What makes an ASCII text worth a second reading: control characters and escapes.
_ODD = Family((Recogniser("view.odd", "low", r"[\x00-\x08\x0b\x0e-\x1f\x7f%\\&]"),))
_FAMILIES = (_SECRETS, _PERSONAL, injection.FAMILY, markup.FAMILY)
# Kinds that name a secret by its surroundings; one that names it by its form says more.
_VAGUE = ("secret.password", "secret.assigned", "secret.bearer", "secret.model_key")

Hit = tuple[str, Span]


def scan(value: JSON) -> list[Finding]:
    """Return what the recognisers find in the strings, keys and numbers of `value`, in document order.

    :raises SanitizerFailed: the value is too large, too deep, no JSON, or the engine gave no answer.
    """
    places = leaves(value)
    texts = [leaf.text for leaf in places]
    budget = Budget(CANDIDATES)
    hits: list[list[Hit]] = [[] for _ in places]
    for index, hit in sweep(texts, _FAMILIES, budget):
        hits[index].append(hit)
    _look_through(texts, hits, budget)
    findings: list[Finding] = []
    unsafe: dict[str, str] = {}  # pointer of a key that holds a secret -> its safe last step
    for leaf, found in zip(places, hits, strict=True):
        found += _named(leaf)
        if leaf.is_number:
            found = [hit for hit in found if hit[0] == "pii.card"]
        if found:
            findings += _findings(leaf, _distinct(found), unsafe)
            if len(findings) > MOST:
                raise SanitizerFailed("sanitizer_too_many", f"The value has more than {MOST} findings.")
    return findings


def _look_through(texts: list[str], hits: list[list[Hit]], budget: Budget) -> None:
    """Add what is hidden in `texts`, and what their other readings say."""
    readings: list[tuple[int, View]] = []
    joined = "\n".join(texts)
    if not joined.isascii() or _ODD.matching(joined):
        for index, text in enumerate(texts):
            hits[index] += _hidden(text)
            readings += ((index, view) for view in _readings(text))
    for index, (_, (start, end, _severity)) in sweep(texts, (_ENCODED,), budget):
        if view := views.decoded(texts[index], start, end):
            readings.append((index, view))
    # What was decoded is read once more without its disguise.
    readings += [(index, plain) for index, view in readings if (plain := views.folded_again(view))]
    _add(readings, _FAMILIES, texts, hits, budget)
    if (letters := views.leet(joined)) and injection.FAMILY.matching(letters.text):
        leet = [(index, view) for index, text in enumerate(texts) if (view := views.leet(text))]
        _add(leet, (injection.FAMILY,), texts, hits, budget)


def _readings(text: str) -> Iterator[View]:
    if not text.isascii():
        if view := views.folded(text):
            yield view
        yield from views.smuggled(text)
    if view := views.unescaped(text):
        yield view


def _add(
    readings: list[tuple[int, View]],
    families: Sequence[Family],
    texts: list[str],
    hits: list[list[Hit]],
    budget: Budget,
) -> None:
    for number, (kind, (start, end, severity)) in sweep([view.text for _, view in readings], families, budget):
        index, view = readings[number]
        first, last = view.source(start, end)
        hits[index].append((kind, (first, min(last, len(texts[index])), severity)))


def _named(leaf: Leaf) -> Iterator[Hit]:
    """A value whose key says that it is a secret or a telephone number."""
    if leaf.in_key or leaf.is_number or not leaf.context or not leaf.text:
        return
    kind = assigned.credential_name(leaf.context)
    if kind:
        severity = assigned.value_severity(kind, leaf.text)
        if severity:
            yield ("secret.password" if kind == "password" else "secret.assigned"), (0, len(leaf.text), severity)
    elif pii.PHONE_NAME.search(leaf.context) and pii.phone_number(leaf.text):
        yield "pii.phone", (0, len(leaf.text), "medium")


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
    """Return the hits in order: overlapping ones of a kind joined, and no vague secret inside an exact one."""
    joined: list[Hit] = []
    for kind, (start, end, severity) in sorted(hits, key=lambda hit: (hit[0], hit[1][0], -hit[1][1])):
        if joined and joined[-1][0] == kind and start < joined[-1][1][1]:
            first, last, before = joined[-1][1]
            joined[-1] = (kind, (first, max(last, end), max(before, severity, key=RANK.__getitem__)))
        elif start < end:
            joined.append((kind, (start, end, severity)))
    exact = sorted(span[:2] for kind, span in joined if kind.startswith("secret.") and kind not in _VAGUE)
    kept = [hit for hit in joined if hit[0] not in _VAGUE or not _inside(hit[1], exact)]
    return sorted(kept, key=lambda hit: (hit[1][0], hit[1][1], hit[0]))


def _inside(span: Span, spans: list[tuple[int, int]]) -> bool:
    index = bisect_right(spans, (span[0], 1 << 60)) - 1
    return index >= 0 and span[1] <= spans[index][1]


def _findings(leaf: Leaf, hits: list[Hit], unsafe: dict[str, str]) -> Iterator[Finding]:
    if leaf.in_key:
        telling = [(start, end, kind) for kind, (start, end, _) in hits if kind.startswith(("secret.", "pii."))]
        if telling:
            unsafe[leaf.pointer] = step("", cut(leaf.text, telling))
    path = _safe(leaf.pointer, unsafe)
    pointer = None if path == leaf.pointer else leaf.pointer
    for kind, (start, end, severity) in hits:
        yield Finding(kind, path, severity, start, end, leaf.in_key, pointer)


def _safe(pointer: str, unsafe: dict[str, str]) -> str:
    """Return `pointer` with markers for the secrets in its keys: paths go into records, secrets do not."""
    if not unsafe:
        return pointer
    path = prefix = ""
    for token in pointer.split("/")[1:]:
        prefix += "/" + token
        path += unsafe.get(prefix, "/" + token)
    return path
