"""Receipts: the promise, signed, that a record is in the log or soon will be. Hand one out only after the commit."""

import base64
from datetime import UTC

from audit import canonical, keys, verify
from audit.log import Entry


def issue(entry: Entry) -> str:
    """Return the receipt of a committed record: `placet-receipt-1.<key id>.<payload>.<signature>` in base64url."""
    key = keys.receipt()
    payload = canonical.dumps(
        {
            "at": entry.at.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z",
            "id": str(entry.id),
            "leaf": entry.leaf_hash.hex(),
            "workspace": str(entry.workspace),
        }
    )
    signed = f"{verify.RECEIPT}.{key.id}.{_base64(payload)}"
    return f"{signed}.{_base64(key.sign(signed.encode()))}"


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
