"""The bundle as a file: what OPA reads (tar.gz, .manifest, .signatures.json), made and verified. No Django.

The signature is one ES256 JWT over the list of files with their digests; JSON files are digested in the canonical
form that OPA uses. The revision names the content: workspace, environment and every file, not the signature.
Source of the rules: open-policy-agent/opa v1/bundle (hash.go, sign.go, verify.go), tried against opa 1.20.2.
"""

import gzip
import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

MANIFEST = ".manifest"
SIGNATURES = ".signatures.json"
ROOT = "placet"
_ALGORITHM = "ES256"
_LARGEST = 64 * 1024 * 1024  # bytes of all files, unpacked
_MOST_FILES = 10_000


class BundleInvalid(Exception):
    """The bundle may not be used. `code`: bundle_signature_invalid or bundle_malformed."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True)
class Bundle:
    """What a verified bundle holds.

    :param modules: path -> Rego text.
    :param data: the document `data`.
    :param metadata: of the manifest: workspace, environment, the policies with their rendered digests.
    """

    revision: str
    modules: Mapping[str, str]
    data: Mapping[str, Any]
    metadata: Mapping[str, Any] = field(default_factory=dict)


def revision(files: Mapping[str, str], metadata: Mapping[str, Any]) -> str:
    """Return the name of a content: `sha256:` over its files and metadata."""
    hashes = {path: hashlib.sha256(text.encode()).hexdigest() for path, text in files.items()}
    return "sha256:" + hashlib.sha256(canonical({"files": hashes, "metadata": metadata}).encode()).hexdigest()


def pack(files: Mapping[str, str], metadata: Mapping[str, Any], *, key: ECKey) -> tuple[bytes, dict[str, Any]]:
    """Return the signed bundle of `files` (path -> text) and its manifest.

    The bytes depend on nothing but the arguments, the signature apart.
    """
    manifest = {"revision": revision(files, metadata), "roots": [ROOT], "rego_version": 1, "metadata": dict(metadata)}
    everything = {**files, MANIFEST: canonical(manifest)}
    everything[SIGNATURES] = canonical({"signatures": [_sign(everything, key)]})
    return _archive(everything), manifest


def countersign(raw: bytes, *, key: ECKey) -> str:
    """Return the signature of another key over the files of a bundle of ours."""
    files = {path: text.decode() for path, text in _extract(raw).items() if path != SIGNATURES}
    return _sign(files, key)


def with_signature(raw: bytes, token: str) -> bytes:
    """Return a bundle of ours with another signature in the place of its own."""
    files = {path: text.decode() for path, text in _extract(raw).items()}
    return _archive(files | {SIGNATURES: canonical({"signatures": [token]})})


def unpack(raw: bytes, *, keys: Sequence[ECKey]) -> Bundle:
    """Return the content of a bundle that one of `keys` signed, every file and no other. :raises BundleInvalid:"""
    files = _extract(raw)
    _verify(files, keys)
    try:
        manifest = json.loads(files[MANIFEST])
        if manifest["roots"] != [ROOT]:
            raise BundleInvalid("bundle_malformed", "Its roots are not those of Placet.")
        metadata, name = manifest["metadata"], manifest["revision"]
        content = {path: raw.decode() for path, raw in files.items() if path not in (MANIFEST, SIGNATURES)}
        if name != revision(content, metadata):
            raise BundleInvalid("bundle_malformed", "Its revision does not name its content.")
        modules = {path: text for path, text in content.items() if path.endswith(".rego")}
        return Bundle(name, modules, _data(content), metadata)
    except (KeyError, TypeError, ValueError) as error:
        raise BundleInvalid("bundle_malformed", f"It cannot be read: {type(error).__name__}.") from error


def canonical(value: Any) -> str:
    """Return JSON as OPA writes it to digest it: sorted keys, no blanks, as Go encodes text without HTML escapes."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def key_id(key: ECKey) -> str:
    """Return the name under which a key signs: the start of its RFC 7638 thumbprint."""
    return str(key.thumbprint())[:16]


def _sign(files: Mapping[str, str], key: ECKey) -> str:
    listed = [
        {"name": path, "hash": _digest(path, files[path].encode()), "algorithm": "SHA-256"} for path in sorted(files)
    ]
    header = {"alg": _ALGORITHM, "kid": key_id(key), "typ": "JWT"}
    return jws.serialize_compact(header, canonical({"files": listed}), key, algorithms=[_ALGORITHM])


def _digest(path: str, raw: bytes) -> str:
    name = path.rpartition("/")[2]
    if name in ("data.json", "data.yaml", MANIFEST):
        raw = canonical(json.loads(raw)).encode()
    return hashlib.sha256(raw).hexdigest()


def _verify(files: Mapping[str, bytes], keys: Sequence[ECKey]) -> None:
    try:
        tokens = json.loads(files[SIGNATURES])["signatures"]
        if not isinstance(tokens, list) or len(tokens) != 1:
            raise BundleInvalid("bundle_signature_invalid", "It does not have exactly one signature.")
        payload = json.loads(_signed(tokens[0], keys))
        listed = {entry["name"]: (entry["algorithm"], entry["hash"]) for entry in payload["files"]}
        found = {path: ("SHA-256", _digest(path, raw)) for path, raw in files.items() if path != SIGNATURES}
    except (KeyError, TypeError, ValueError) as error:
        raise BundleInvalid("bundle_signature_invalid", "Its signature cannot be read.") from error
    if listed != found or len(payload["files"]) != len(listed):
        raise BundleInvalid("bundle_signature_invalid", "Its files are not those that were signed.")


def _signed(token: str, keys: Sequence[ECKey]) -> bytes:
    for key in keys:
        try:
            return bytes(jws.deserialize_compact(token, key, algorithms=[_ALGORITHM]).payload)
        except JoseError:
            continue
    raise BundleInvalid("bundle_signature_invalid", "None of the pinned keys signed it.")


def _data(content: Mapping[str, str]) -> dict[str, Any]:
    """Return the document that the data files make: each at the place of its folder."""
    document: dict[str, Any] = {}
    for path, text in content.items():
        folder, _, name = path.rpartition("/")
        if name != "data.json":
            continue
        place = document
        for part in folder.split("/"):
            place = place.setdefault(part, {})
        place.update(json.loads(text))
    return document


def _archive(files: Mapping[str, str]) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(files):
            raw = files[path].encode()
            member = tarfile.TarInfo("/" + path)
            member.size, member.mode = len(raw), 0o644
            archive.addfile(member, io.BytesIO(raw))
    return gzip.compress(plain.getvalue(), compresslevel=6, mtime=0)


def _extract(raw: bytes) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as packed:
            plain = packed.read(_LARGEST + 1)
        if len(plain) > _LARGEST:
            raise BundleInvalid("bundle_malformed", "It is too large.")
        with tarfile.open(fileobj=io.BytesIO(plain), mode="r:") as archive:
            for member in archive:
                path = member.name.removeprefix("/")
                if not member.isreg() or path in files or len(files) >= _MOST_FILES:
                    raise BundleInvalid("bundle_malformed", "It holds something else than plain files, each once.")
                opened = archive.extractfile(member)
                files[path] = opened.read() if opened else b""
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
        raise BundleInvalid("bundle_malformed", f"It cannot be unpacked: {type(error).__name__}.") from error
    return files
