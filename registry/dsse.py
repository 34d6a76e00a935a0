"""PURE. DSSE envelopes with in-toto statements: taken apart, and their signatures verified.

Sources: DSSE v1.0 (secure-systems-lab/dsse: protocol.md, envelope.md), in-toto attestation framework v1 (Statement).
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from audit import canonical
from audit.refusal import Refusal

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
LARGEST = 64 * 1024  # bytes of a payload
MOST_SIGNATURES, MOST_SUBJECTS = 8, 100
PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey


class Malformed(Exception):
    """It is no DSSE envelope with an in-toto statement, or no key. The text says what is wrong."""


@dataclass(frozen=True)
class Statement:
    """What somebody states about some bytes.

    :param subjects: SHA-256 in hex of everything that it is about; other digests are not looked at.
    :param payload: the bytes that were signed. :param signatures: raw, without their key ids, which prove nothing.
    """

    predicate_type: str
    predicate: Mapping[str, Any]
    subjects: frozenset[str]
    payload: bytes
    signatures: tuple[bytes, ...]

    def signed_by(self, key: PublicKey) -> bool:
        """Say whether one of the signatures is valid under `key`."""
        return any(_valid(key, signature, self.payload) for signature in self.signatures)


def parse(envelope: object) -> Statement:
    """Return the statement in an envelope, signatures not verified. :raises Malformed:"""
    if not isinstance(envelope, dict) or not {"payload", "payloadType", "signatures"} <= envelope.keys():
        raise Malformed("an envelope has payload, payloadType and signatures")
    if envelope["payloadType"] != PAYLOAD_TYPE:
        raise Malformed(f"payloadType must be {PAYLOAD_TYPE}")
    payload = _decoded(envelope["payload"], "payload")
    if len(payload) > LARGEST:
        raise Malformed(f"the payload has more than {LARGEST} bytes")
    listed = envelope["signatures"]
    if not isinstance(listed, list) or not 1 <= len(listed) <= MOST_SIGNATURES:
        raise Malformed(f"there are between 1 and {MOST_SIGNATURES} signatures")
    signatures = [_decoded(one.get("sig") if isinstance(one, dict) else None, "sig") for one in listed]
    try:
        document = canonical.loads(payload, max_bytes=LARGEST, field="payload")
    except Refusal as refusal:
        raise Malformed(f"the payload is no JSON: {refusal.detail}") from refusal
    if not isinstance(document, dict) or document.get("_type") != STATEMENT_TYPE:
        raise Malformed(f"the payload's _type must be {STATEMENT_TYPE}")
    kind, predicate = document.get("predicateType"), document.get("predicate", {})
    if not isinstance(kind, str) or not 0 < len(kind) <= 500 or not isinstance(predicate, dict):
        raise Malformed("predicateType must be a URI and predicate an object")
    return Statement(kind, predicate, _subjects(document.get("subject")), payload, tuple(signatures))


def load_key(pem: str) -> PublicKey:
    """Return a public key from PEM: Ed25519, or ECDSA on P-256. :raises Malformed:"""
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, TypeError) as error:
        raise Malformed("it is no public key in PEM (-----BEGIN PUBLIC KEY-----)") from error
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise Malformed("only Ed25519 and ECDSA P-256 keys are accepted")


def fingerprint(key: PublicKey) -> str:
    """Return `sha256:` of the key's SubjectPublicKeyInfo: the same for every spelling of its PEM."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return f"sha256:{hashlib.sha256(key.public_bytes(serialization.Encoding.DER, form)).hexdigest()}"


def pae(payload: bytes, kind: str = PAYLOAD_TYPE) -> bytes:
    """Return the bytes that are signed: DSSE's pre-authentication encoding."""
    return b"DSSEv1 %d %s %d %s" % (len(kind.encode()), kind.encode(), len(payload), payload)


def _valid(key: PublicKey, signature: bytes, payload: bytes) -> bool:
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, pae(payload))
        else:
            key.verify(signature, pae(payload), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _decoded(text: object, name: str) -> bytes:
    # DSSE allows both alphabets of base64.
    if not isinstance(text, str) or len(text) > 2 * LARGEST:
        raise Malformed(f"{name} must be base64")
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed(f"{name} must be base64") from error


def _subjects(listed: object) -> frozenset[str]:
    if not isinstance(listed, list) or not 1 <= len(listed) <= MOST_SUBJECTS:
        raise Malformed(f"subject must list between 1 and {MOST_SUBJECTS} digests")
    digests = [one.get("digest") if isinstance(one, dict) else None for one in listed]
    if not all(isinstance(one, dict) and one for one in digests):
        raise Malformed("each subject must have a digest")
    return frozenset(str(one["sha256"]).lower() for one in digests if isinstance(one, dict) and "sha256" in one)
