"""One page of a list that may be long, and where its other pages are.

For lists of which a page shows several, each with a parameter of its own. What grows without end, such as calls, is
paged by key instead: see `gateway.listing`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from django.http import HttpRequest

PAGE = 25
T = TypeVar("T")
R = TypeVar("R", covariant=True)


class Rows(Protocol[R]):
    """A query or a list: whatever is read slice by slice."""

    def __getitem__(self, part: slice, /) -> Iterable[R]:
        """Return a part of the rows."""


@dataclass(frozen=True, slots=True)
class Portion(Generic[T]):
    """Some rows of a list.

    :param name: of the list: of its parameter, and the id of its heading.
    :param beginning: query of the page with the first rows; "": these are.
    :param next: query of the page with the rows that follow; "": there are none.
    """

    name: str
    rows: Sequence[T]
    beginning: str
    next: str


def cut(request: HttpRequest, name: str, rows: Rows[T], *, size: int | None = None) -> Portion[T]:
    """Return the rows from the one on that the parameter `name` numbers, at most `size`, by default PAGE."""
    most = size or PAGE
    start = _number(request.GET.get(name, ""))
    found = list(rows[start : start + most + 1])
    if start and not found:  # the list has become shorter since that address was made
        start, found = 0, list(rows[: most + 1])
    after = _query(request, name, start + most) if len(found) > most else ""
    return Portion(name, found[:most], _query(request, name, 0) if start else "", after)


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 7 else 0


def _query(request: HttpRequest, name: str, start: int) -> str:
    """Return the query of this page with that start, and the place of the list on it."""
    given = request.GET.copy()
    given.pop(name, None)
    if start:
        given[name] = str(start)
    return f"?{given.urlencode()}#{name}"
