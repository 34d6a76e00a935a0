"""One RE2 set finds which patterns match; only those are then located.

Patterns are written for RE2: no look-around, and no counted repetition of wide classes (`a[ab]{200}c` costs seconds).
Lengths, neighbours and checksums are checked in Python on the candidates.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import re2

from gateway.sanitize.findings import SanitizerFailed, Severity

Span = tuple[int, int, Severity]
# text, start, end of the candidate -> what of it is a finding
Accept = Callable[[str, int, int], Iterable[Span]]

_MEMORY = 64 << 20  # bytes for the automaton of one set
# `Match` answers None for "nothing", for empty text and for a set that never compiled alike. The sentinel is in every
# text, so an answer without its index means that the engine did not look. It is plain, so that no pattern is in it.
_SENTINEL = "placet:end"


@dataclass(frozen=True, slots=True)
class Recogniser:
    """A pattern and the check that makes a candidate a finding.

    :param pattern: RE2 syntax; group 1, where there is one, is the candidate, else the whole match.
    :param accept: yields the spans that count; without one the candidate counts as it stands.
    """

    kind: str
    severity: Severity
    pattern: str
    accept: Accept | None = None


class Budget:
    """Bounds the candidates that one scan may look at, so that hostile text costs bounded time."""

    __slots__ = ("left",)

    def __init__(self, candidates: int) -> None:
        self.left = candidates

    def spend(self) -> None:
        """Count one candidate. :raises SanitizerFailed: when there were too many."""
        self.left -= 1
        if self.left < 0:
            raise SanitizerFailed("sanitizer_too_many", "The value has too many places that could be findings.")


class Family:
    """Recognisers that are searched together."""

    def __init__(self, recognisers: Iterable[Recogniser]) -> None:
        self.recognisers = tuple(recognisers)
        self._patterns = [re2.compile(one.pattern, _options()) for one in self.recognisers]
        self._groups = [1 if pattern.groups else 0 for pattern in self._patterns]
        self._set = re2.Set.SearchSet(_options())
        for one in self.recognisers:
            self._set.Add(one.pattern)
        self._sentinel = self._set.Add(_SENTINEL)
        self._set.Compile()

    def matching(self, text: str) -> list[int]:
        """Return the numbers of the recognisers whose pattern occurs in `text`. :raises SanitizerFailed: engine."""
        try:
            found = self._set.Match(f"{text}\n{_SENTINEL}")
        except UnicodeEncodeError:
            raise SanitizerFailed("sanitizer_lone_surrogate", "The value has a lone surrogate.") from None
        if not found or self._sentinel not in found:
            raise SanitizerFailed("sanitizer_engine", "The pattern engine gave no answer.")
        return sorted(number for number in found if number != self._sentinel)

    def candidates(self, number: int, text: str, budget: Budget, *, group: int) -> Iterator[tuple[int, int]]:
        """Yield the places of `group` in the matches of recogniser `number` in `text`."""
        # Offsets in bytes are offsets in code points as long as all is ASCII, and cost half.
        subject: str | bytes = text.encode() if text.isascii() else text
        for match in self._patterns[number].finditer(subject):
            budget.spend()
            yield match.span(group)

    def spans(self, number: int, text: str, budget: Budget) -> Iterator[Span]:
        """Yield the findings of recogniser `number` in `text`."""
        one = self.recognisers[number]
        for start, end in self.candidates(number, text, budget, group=self._groups[number]):
            if start < 0:
                continue  # the group took no part
            if one.accept is None:
                yield start, end, one.severity
            else:
                yield from one.accept(text, start, end)


def sweep(
    texts: Sequence[str], family: Family, numbers: Iterable[int], budget: Budget
) -> Iterator[tuple[int, tuple[str, Span]]]:
    """Yield (number of the text, (kind, span)) of what the recognisers `numbers` find in `texts`.

    :param numbers: those that `family.matching(joined(texts))` named; mostly there are none.
    """
    ends: list[int] = []  # of each text and its separator
    for number in numbers:
        kind = family.recognisers[number].kind
        touched: Iterable[int] = (0,)
        if len(texts) > 1:
            ends = ends or list(accumulate(len(text) + 1 for text in texts))
            # A match across a separator is none, but may hide one behind it: look at every text that it touches.
            touched = sorted(
                {
                    index
                    for start, end in family.candidates(number, joined(texts), budget, group=0)
                    for index in range(bisect_right(ends, start), min(bisect_right(ends, end), len(texts) - 1) + 1)
                }
            )
        for index in touched:
            for span in family.spans(number, texts[index], budget):
                yield index, (kind, span)


def joined(texts: Iterable[str]) -> str:
    """Return `texts` in one, so that one look tells which patterns occur in any of them."""
    return "\n".join(texts)


def when(check: Callable[[str], bool], severity: Severity) -> Accept:
    """Return an `accept` that takes the candidate as a whole if `check` says so."""

    def accept(text: str, start: int, end: int) -> Iterator[Span]:
        if check(text[start:end]):
            yield start, end, severity

    return accept


def _options() -> "re2.Options":
    options = re2.Options()
    options.max_mem = _MEMORY
    options.log_errors = False
    return options
