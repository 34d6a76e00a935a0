"""Server-sent events (WHATWG HTML, 9.2), as far as MCP has them: messages, and where to go on after a loss. Pure."""

from collections.abc import Iterable, Iterator

_BOM = b"\xef\xbb\xbf"
_LONGEST_PAUSE = 3600.0


class Events:
    """What one answer says, over all connections on which it comes.

    :ivar last: id of the last event that had one, after which the server can go on. :ivar pause: seconds to wait before
        asking it to, None where it did not say.
    """

    def __init__(self) -> None:
        self.last = b""
        self.pause: float | None = None

    def read(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the data of each message, b"" where an event has none; what is unfinished at the end is dropped."""
        kind, name, data = b"", b"", list[bytes]()
        for line in _lines(chunks):
            if line:
                field, _, value = line.partition(b":")
                value = value.removeprefix(b" ")
                if field == b"data":
                    data.append(value)
                elif field == b"event":
                    kind = value
                elif field == b"id" and b"\0" not in value:
                    name = value
                elif field == b"retry" and value.isdigit():
                    self.pause = min(int(value[:9]) / 1000, _LONGEST_PAUSE)
                continue
            self.last = name or self.last
            if kind in (b"", b"message"):
                yield b"\n".join(data)
            kind, data = b"", []


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield whole lines, which end with CR, LF or both."""
    pieces: list[bytes] = []  # of a line that has not ended: joined once, however small they come
    first, returned = True, False
    for chunk in chunks:
        if returned:
            chunk, returned = chunk.removeprefix(b"\n"), not chunk
        if b"\n" not in chunk and b"\r" not in chunk:
            pieces.append(chunk)
            continue
        returned = chunk.endswith(b"\r")
        text = b"".join([*pieces, chunk])
        if first:
            text, first = text.removeprefix(_BOM), False
        *lines, rest = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        yield from lines
        pieces = [rest]
