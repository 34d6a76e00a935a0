"""Keys and signed statements, as a build system makes them."""

import base64
import json

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

SLSA = "https://slsa.dev/provenance/v1"
PREDICATE = {"runDetails": {"builder": {"id": "https://ci.example/runner"}}}


def key(*, curve=False):
    """Return a new private key: Ed25519, or ECDSA on P-256."""
    return ec.generate_private_key(ec.SECP256R1()) if curve else ed25519.Ed25519PrivateKey.generate()


def pem(private):
    """Return the public half as PEM."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return private.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def statement(*digests, **changes):
    """Return an in-toto statement about `digests` (sha256:…)."""
    subjects = [{"name": "version", "digest": {"sha256": digest.removeprefix("sha256:")}} for digest in digests]
    document = {"_type": "https://in-toto.io/Statement/v1", "subject": subjects, "predicateType": SLSA}
    return document | {"predicate": PREDICATE} | changes


def envelope(document, *private, kind="application/vnd.in-toto+json"):
    """Return `document` in an envelope, signed by each of `private`. The encoding is spelled out, not imported."""
    payload = json.dumps(document).encode()
    signed = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
    return {
        "payloadType": kind,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"keyid": "hint", "sig": base64.b64encode(_sign(one, signed)).decode()} for one in private],
    }


def _sign(private, data):
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return private.sign(data)
    return private.sign(data, ec.ECDSA(hashes.SHA256()))
