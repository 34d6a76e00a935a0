"""Every command of docs/operations/keys.md, and what goes on meanwhile."""

import re
from io import StringIO

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from audit import records, rotation
from gateway import pep
from registry import bundle_keys, bundlefile, bundles
from tests import embedded, kept
from tests.audit import trails
from tests.gateway.stage import effects, fresh

PAGE = (embedded.ROOT / "docs/operations/keys.md").read_text()


def run(*words):
    out = StringIO()
    call_command("keys", *words, stdout=out)
    return out.getvalue()


@pytest.fixture(autouse=True)
def _kept():
    with kept.keys():
        yield


def test_the_commands_of_the_page_are_those_of_the_program(stage):
    commands = re.findall(r"^python manage.py keys (.*)$", PAGE, re.MULTILINE)
    assert len(commands) >= 9
    trails.publish(stage.workspace.pk)
    for command in commands:
        words = command.replace("acme", stage.workspace.slug).split()
        try:
            run(*words)
        except CommandError as error:
            # Old secrets of calls are kept for a while; the page says so.
            assert command == "retire calls.hmac", command
            assert "--now" in str(error)
    named = set(re.findall(r"`([a-z]+\.(?:hmac|kek|key)|factors)`", PAGE))
    assert set(rotation.SECRETS) <= named


def test_a_call_is_known_and_its_tool_sees_one_key_through_a_rotation(stage, agent):
    value, key = fresh(), fresh("key")
    first = stage.call(agent, "put", value, key=key)
    run("rotate", "calls.hmac")
    again = pep.call(agent, stage.request("put", value, key=key), now=stage.now)
    assert (again.status, again.call, len(effects(value))) == ("finished", first.call, 1)
    key = fresh("key")
    assert stage.call(agent, "pay", "lost", key=key).status == "unknown"
    seen = effects("lost")[-1]["key"]
    run("rotate", "calls.hmac")
    assert stage.call(agent, "pay", "lost", key=key).status == "unknown"
    assert effects("lost")[-1]["key"] == seen


def test_a_call_of_a_dropped_secret_is_refused_and_not_carried_out_again(stage, agent):
    value, key = fresh(), fresh("key")
    assert stage.call(agent, "put", value, key=key).status == "finished"
    run("rotate", "calls.hmac")
    run("retire", "calls.hmac", "--now")
    with pytest.raises(Exception, match="used for another call"):
        stage.call(agent, "put", value, key=key)
    assert len(effects(value)) == 1


def test_both_bundle_keys_sign_until_the_old_one_is_retired(own_stage):
    own_stage.live()
    environment = own_stage.build.environment()
    old = bundlefile.key_id(bundle_keys.signing(settings.PLACET_KEYS))
    run("rotate", "bundle")
    new = bundlefile.key_id(bundle_keys.signing(settings.PLACET_KEYS))
    assert new != old
    revision = bundles.publish(environment.pk, now=own_stage.now, using="bundler")
    for name in (old, new):
        raw = bundles.signed_by(environment.pk, revision, name)
        (key,) = [one for one in bundle_keys.pinned(settings.PLACET_KEYS) if bundlefile.key_id(one) == name]
        assert bundlefile.unpack(raw, keys=[key]).revision == revision
    assert bundles.publish(environment.pk, now=own_stage.now, using="bundler") is None
    with pytest.raises(CommandError, match="not over"):
        run("rotate", "bundle")
    run("retire", "bundle")
    assert [bundlefile.key_id(key) for key in bundle_keys.pinned(settings.PLACET_KEYS)] == [new]
    revision = bundles.publish(environment.pk, now=own_stage.now, using="bundler")
    with pytest.raises(Exception, match="keys list"):
        bundles.signed_by(environment.pk, revision, old)
    with pytest.raises(bundlefile.BundleInvalid):
        bundlefile.unpack(bundles.signed_by(environment.pk, revision, new), keys=[])
    trails.publish(own_stage.workspace.pk)
    run("rotate", "receipt")
    assert records.newest(own_stage.workspace.pk, limit=1)[0].event == "audit.key.rotated"


def test_the_list_names_keys_and_shows_no_secret(stage):
    stage.call(stage.agent())
    said = run("list")
    assert "calls.hmac" in said
    for path in settings.PLACET_KEYS.iterdir():
        if path.suffix != ".pub":
            for line in path.read_text().splitlines():
                assert line not in said
