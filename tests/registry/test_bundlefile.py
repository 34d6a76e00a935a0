"""The bundle as a file: OPA's digests, one signature, deterministic bytes, bounded unpacking."""

import base64
import gzip
import hashlib
import io
import json
import tarfile

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey, OctKey

from registry import bundle_keys, bundlefile

FILES = {
    "placet/router.rego": "package placet\n",
    "placet/p_1/policy.rego": "package placet.p_1\n\nx := 1\n",
    "placet/p_1/data.json": '{"a":[1,2],"ü":"\\u2028<>&"}',
}
METADATA = {"workspace": "w", "environment": "production", "note": "ü \u2028 <b> & \x01 \b"}


def new_key():
    private = ec.generate_private_key(ec.SECP256R1())
    return ECKey.import_key(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


KEY = new_key()
RAW, MANIFEST = bundlefile.pack(FILES, METADATA, key=KEY)


def files_of(raw):
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(raw))) as archive:
        return {one.name.lstrip("/"): archive.extractfile(one).read() for one in archive}


def archive(files, **members):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as new:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            new.addfile(member, io.BytesIO(text))
        for member in members.values():
            new.addfile(member)
    return gzip.compress(made.getvalue())


def refused(raw, keys=(KEY,)):
    with pytest.raises(bundlefile.BundleInvalid) as caught:
        bundlefile.unpack(raw, keys=keys)
    return caught.value.code


def test_what_is_packed_comes_out():
    bundle = bundlefile.unpack(RAW, keys=[KEY])
    assert bundle.revision == MANIFEST["revision"]
    assert bundle.metadata == METADATA
    assert bundle.modules == {path: text for path, text in FILES.items() if path.endswith(".rego")}
    assert bundle.data == {"placet": {"p_1": {"a": [1, 2], "ü": "\u2028<>&"}}}


def test_the_signature_lists_every_file_with_the_digest_that_opa_computes():
    files = files_of(RAW)
    token = json.loads(files.pop(".signatures.json"))["signatures"][0]
    header, payload, _ = (base64.urlsafe_b64decode(part + "==") for part in token.split("."))
    assert json.loads(header) == {"alg": "ES256", "kid": bundlefile.key_id(KEY), "typ": "JWT"}
    listed = {one["name"]: one for one in json.loads(payload)["files"]}
    assert set(listed) == {*FILES, ".manifest"}
    assert {one["algorithm"] for one in listed.values()} == {"SHA-256"}
    for path in ("placet/router.rego", "placet/p_1/policy.rego"):
        assert listed[path]["hash"] == hashlib.sha256(FILES[path].encode()).hexdigest()
    # JSON is digested as Go writes it: sorted, no blanks, U+2028 escaped, no HTML escapes.
    canonical = '{"a":[1,2],"ü":"\\u2028<>&"}'
    assert listed["placet/p_1/data.json"]["hash"] == hashlib.sha256(canonical.encode()).hexdigest()
    assert files[".manifest"].decode() == (
        '{"metadata":{"environment":"production","note":"ü \\u2028 <b> & \\u0001 \\b","workspace":"w"},'
        f'"rego_version":1,"revision":"{MANIFEST["revision"]}","roots":["placet"]}}'
    )


def test_json_may_be_spelled_otherwise_without_harm_to_its_digest():
    files = files_of(RAW)
    files[".manifest"] = json.dumps(json.loads(files[".manifest"]), indent=2).encode()
    assert bundlefile.unpack(archive(files), keys=[KEY]).revision == MANIFEST["revision"]


def test_the_bytes_depend_on_nothing_but_the_content_the_signature_apart():
    again, _ = bundlefile.pack(dict(reversed(FILES.items())), METADATA, key=new_key())
    one, two = files_of(RAW), files_of(again)
    assert one.pop(".signatures.json") != two.pop(".signatures.json")
    assert one == two
    assert list(files_of(again)) == sorted(files_of(again))
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(RAW))) as members:
        assert {(one.mtime, one.uid, one.gid, one.uname, one.mode) for one in members} == {(0, 0, 0, "", 0o644)}


def test_the_revision_names_files_and_metadata():
    other = bundlefile.revision(FILES, METADATA | {"serial": 2})
    changed = bundlefile.revision(FILES | {"placet/router.rego": "package placet\n\n"}, METADATA)
    assert len({MANIFEST["revision"], other, changed}) == 3


def test_only_pinned_keys_count_and_two_may_overlap():
    other = new_key()
    assert refused(RAW, keys=()) == "bundle_signature_invalid"
    assert refused(RAW, keys=[other]) == "bundle_signature_invalid"
    assert bundlefile.unpack(RAW, keys=[other, KEY]).revision == MANIFEST["revision"]


def resigned(change):
    """Return the bundle with another token: `change` gets the payload and returns the token."""
    files = files_of(RAW)
    token = json.loads(files[".signatures.json"])["signatures"][0]
    payload = base64.urlsafe_b64decode(token.split(".")[1] + "==")
    files[".signatures.json"] = json.dumps({"signatures": change(payload, token)}).encode()
    return archive(files)


def unsigned(payload):
    parts = (json.dumps({"alg": "none"}).encode(), payload)
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "."


def with_public_key_as_secret(payload):
    secret = OctKey.import_key(KEY.as_pem(private=False))
    return jws.serialize_compact({"alg": "HS256"}, payload, secret, algorithms=["HS256"])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "change",
    [
        lambda payload, token: [],
        lambda payload, token: [token, token],
        lambda payload, token: token,
        lambda payload, token: [unsigned(payload)],
        lambda payload, token: ["x.y.z"],
        lambda payload, token: [7],
    ],
)
def test_a_signature_of_another_kind_does_not_count(change):
    assert refused(resigned(change)) == "bundle_signature_invalid"


def test_a_file_more_or_less_or_changed_is_refused():
    for path in FILES:
        files = files_of(RAW)
        del files[path]
        assert refused(archive(files)) == "bundle_signature_invalid"
        files = files_of(RAW)
        files[path] = files[path].replace(b"1", b"2") + b" "
        assert refused(archive(files)) == "bundle_signature_invalid"
    assert refused(archive(files_of(RAW) | {"placet/more.rego": b"package placet\n"})) == "bundle_signature_invalid"
    assert refused(archive({name: text for name, text in files_of(RAW).items() if name != ".manifest"})) == (
        "bundle_signature_invalid"
    )


def test_a_signed_bundle_with_other_roots_or_a_false_revision_is_refused():
    def signed(manifest):
        files = dict(FILES)
        everything = files | {".manifest": bundlefile.canonical(manifest)}
        listed = [
            {"name": path, "hash": bundlefile._digest(path, text.encode()), "algorithm": "SHA-256"}
            for path, text in everything.items()
        ]
        token = jws.serialize_compact(
            {"alg": "ES256"}, bundlefile.canonical({"files": listed}), KEY, algorithms=["ES256"]
        )
        everything[".signatures.json"] = json.dumps({"signatures": [token]})
        return archive({path: text.encode() for path, text in everything.items()})

    assert bundlefile.unpack(signed(MANIFEST), keys=[KEY]).revision == MANIFEST["revision"]
    assert refused(signed(MANIFEST | {"roots": [""]})) == "bundle_malformed"
    assert refused(signed(MANIFEST | {"revision": "sha256:" + "0" * 64})) == "bundle_malformed"
    assert refused(signed({"revision": "x"})) == "bundle_malformed"


def test_links_twins_and_floods_are_refused(monkeypatch):
    link = tarfile.TarInfo("placet/link.rego")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    assert refused(archive(files_of(RAW), link=link)) == "bundle_malformed"
    twin = tarfile.TarInfo("placet/router.rego")
    assert refused(archive(files_of(RAW), twin=twin)) == "bundle_malformed"
    monkeypatch.setattr(bundlefile, "_LARGEST", 100)
    assert refused(RAW) == "bundle_malformed"


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, len(RAW) - 1), st.integers(1, 255))
def test_no_changed_byte_gives_another_content(place, flip):
    raw = bytearray(RAW)
    raw[place] ^= flip
    try:
        bundle = bundlefile.unpack(bytes(raw), keys=[KEY])
    except bundlefile.BundleInvalid:
        return
    # A byte of the gzip header that means nothing.
    assert bundle == bundlefile.unpack(RAW, keys=[KEY])


def test_keys_are_made_once_private_and_pinned(tmp_path):
    directory = tmp_path / "keys"
    key = bundle_keys.signing(directory)
    assert (directory / "bundle.key").stat().st_mode & 0o777 == 0o600
    assert bundlefile.key_id(bundle_keys.signing(directory)) == bundlefile.key_id(key)
    [public] = bundle_keys.pinned(directory)
    assert not public.is_private
    raw, _ = bundlefile.pack(FILES, METADATA, key=key)
    assert bundlefile.unpack(raw, keys=[public])
    # Two overlap while a new key takes over.
    other = new_key()
    with (directory / "bundle.pub").open("ab") as file:
        file.write(other.as_pem(private=False))
    raw, _ = bundlefile.pack(FILES, METADATA, key=other)
    assert bundlefile.unpack(raw, keys=bundle_keys.pinned(directory))
    assert bundle_keys.pinned(tmp_path) == []


def test_a_lost_private_key_is_not_made_anew(tmp_path):
    bundle_keys.signing(tmp_path)
    (tmp_path / "bundle.key").unlink()
    with pytest.raises(FileNotFoundError):
        bundle_keys.signing(tmp_path)
