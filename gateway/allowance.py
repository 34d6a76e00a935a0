"""How many tokens a model's answer may have: what is reserved, and what the model is told. Pure."""

from collections.abc import Mapping
from typing import Any

OUTPUT_TOKENS = 4096  # when neither the caller nor the contract bounds it


def output_bound(content: Mapping[str, Any], arguments: Mapping[str, Any]) -> int:
    """Return the most tokens of an answer. :param content: of the model's contract."""
    bound = content.get("parameters", {}).get("max_output_tokens", OUTPUT_TOKENS)
    return min(int(arguments.get("max_output_tokens", bound)), int(content.get("context_length", 1 << 30)))
