"""Keys, signed notes and checkpoints are those of c2sp.org; what deviates is refused."""

import base64

import pytest

from audit import verify
from tests.audit import trails

# The published example of Go's note package, whose format c2sp.org/signed-note describes.
NEUMANN = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NOTE = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


def test_the_published_note_opens_with_its_key():
    text, signer = verify.open_note(NOTE, [verify.read_key(NEUMANN)])
    assert text == NOTE.split("\n\n")[0] + "\n"
    assert (signer.name, signer.id.hex()) == ("PeterNeumann", "c74f20a3")


def test_signatures_by_unknown_keys_are_passed_over_but_never_enough():
    key = verify.read_key(NEUMANN)
    stranger = trails.another_key("stranger.example")
    more = NOTE + stranger.sign_note("x\n").split("\n\n")[1]
    assert verify.open_note(more, [key])[1] == key
    with pytest.raises(verify.NotVerified, match="No signature"):
        verify.open_note(NOTE, [verify.read_key(stranger.public)])


def test_every_changed_character_of_a_note_is_refused():
    key = verify.read_key(NEUMANN)
    for at in range(len(NOTE)):
        changed = NOTE[:at] + ("a" if NOTE[at] != "a" else "b") + NOTE[at + 1 :]
        with pytest.raises(verify.NotVerified):
            verify.open_note(changed, [key])
        with pytest.raises(verify.NotVerified):
            verify.open_note(NOTE[:at], [key])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "name+c74f20a3",
        NEUMANN[:-4],
        NEUMANN.replace("c74f20a3", "c74f20a4"),
        "+" + NEUMANN,
        "a b" + NEUMANN,
    ],
)
def test_a_damaged_public_key_is_refused(text):
    with pytest.raises(verify.NotVerified):
        verify.read_key(text)


def sign(key, text):
    return key.sign_note(text)


def test_a_checkpoint_is_refused_unless_it_has_the_one_form_and_its_own_key():
    key = trails.another_key("log.example/log/1")
    pinned = [verify.read_key(key.public)]
    root = base64.b64encode(b"\x07" * 32).decode()
    good = verify.open_checkpoint(sign(key, f"log.example/log/1\n12\n{root}\n"), pinned)
    assert (good.origin, good.size, good.root) == ("log.example/log/1", 12, b"\x07" * 32)
    for text in (
        f"log.example/log/1\n012\n{root}\n",
        f"log.example/log/1\n-1\n{root}\n",
        f"log.example/log/1\n\u0661\u0662\n{root}\n",
        f"log.example/log/1\n12\n{root[:-4]}\n",
        f"log.example/log/1\n12\n{root[:-2]}d=\n",
        f"log.example/log/1\n12\n{root}\nextension\n",
        "log.example/log/1\n12\n",
        f"log.example/log/2\n12\n{root}\n",
        f"log.example/log/1\n{2**53}\n{root}\n",
    ):
        with pytest.raises(verify.NotVerified):
            verify.open_checkpoint(sign(key, text), pinned)


def test_the_key_of_another_log_signs_nothing_for_this_one():
    """Both keys are pinned, as an auditor of two logs would have them."""
    own, other = trails.another_key("log.example/log/1"), trails.another_key("log.example/log/2")
    pinned = [verify.read_key(own.public), verify.read_key(other.public)]
    text = f"log.example/log/1\n1\n{base64.b64encode(bytes(32)).decode()}\n"
    assert verify.open_checkpoint(own.sign_note(text), pinned).size == 1
    with pytest.raises(verify.NotVerified, match="another key"):
        verify.open_checkpoint(other.sign_note(text), pinned)
