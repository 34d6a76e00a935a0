"""Strict JSON bodies for every REST view."""

from collections.abc import Mapping
from typing import IO, Any

from rest_framework.parsers import BaseParser

from audit import canonical


class StrictJSONParser(BaseParser):
    """Parse `application/json` with bounded work; duplicate keys, NaN and bad UTF-8 are refused by name."""

    media_type = "application/json"

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> canonical.JSON:
        return canonical.loads(stream.read(canonical.LARGEST_BODY + 1))
