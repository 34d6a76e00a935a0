"""A real OPA takes the bundles that we serve, refuses any other, and says which one it has."""

from datetime import timedelta
from functools import partial

import pytest
from joserfc.jwk import ECKey

from registry import activations, bundlefile, bundles, pdp_credentials, pdps
from registry.models import Activation, Pdp
from tests.policies import bundling
from tests.registry.builders import policy
from tests.sidecar import Opa, served, status, wait


@pytest.fixture
def environment(build):
    return build.environment()


@pytest.fixture
def key(environment, people, now):
    """A key with which decision points of the environment ask."""
    how = {"actor": people["olga"], "now": now, "correlation_id": "test"}
    return pdp_credentials.create(environment, name="opa", expires_at=now + timedelta(days=1), **how)[1]


@pytest.fixture(scope="module")
def url():
    """A web server of ours."""
    with served() as address:
        yield address


@pytest.fixture
def opa(tmp_path, environment, key, url):
    """Return what starts an OPA for the environment."""
    return partial(Opa, tmp_path, url=url, environment=environment, key=key)


def serves(environment, revision):
    return Pdp.objects.filter(kind="opa", environment=environment, revision=revision).first()


def test_an_opa_takes_our_bundle_decides_by_it_and_reports_what_it_serves(environment, opa):
    first = bundling.publish(environment, {"release": bundling.OPEN})
    with opa() as server:
        row = wait(lambda: serves(environment, first.revision))
        assert (row.problem, row.version) == ("", "1.20.2")
        answer = server.decide(first.input("release"))
        assert answer["result"]["allow"] is True
        assert answer["decision_id"]
        second = bundling.publish(environment, {"release": bundling.OPEN + "\n"})
        wait(lambda: serves(environment, second.revision))
        assert list(pdps.shown().filter(environment=environment).values_list("current", "fresh")) == [(True, True)]


@pytest.mark.parametrize(
    "change",
    {
        "a tampered one": lambda raw: _rewritten(raw, {"placet/router.rego": "package placet\n\ndecision := 1\n"}),
        "an unsigned one": lambda raw: _rewritten(raw, {bundlefile.SIGNATURES: None}),
        "one that another key signed": lambda raw: _resigned(raw),
        "no archive at all": lambda raw: b"nothing",
    }.values(),
    ids=["tampered", "unsigned", "another key", "no archive"],
)
def test_an_opa_refuses_what_we_did_not_sign_keeps_what_it_has_and_says_so(environment, opa, change):
    good = bundling.publish(environment, {"release": bundling.OPEN})
    with opa() as server:
        wait(lambda: serves(environment, good.revision))
        bundling.publish(environment, {"release": bundling.OPEN + "\n"}, change=change)
        row = wait(lambda: Pdp.objects.filter(environment=environment).exclude(problem="").first())
        assert row.revision == good.revision
        assert server.decide(good.input("release"))["result"]["allow"] is True


def test_an_activation_goes_live_when_the_opa_has_it_and_not_before(build, environment, opa):
    ready = bundling.publish(environment, {"release": bundling.OPEN})
    with opa():
        wait(lambda: serves(environment, ready.revision))
        activation = build.requested(build.version("policy", "baseline", policy("baseline")))
        bundles.publish(environment.pk, now=build.how["now"], using="bundler")
        # Nobody sweeps here: what moves the slot is the report of the OPA.
        wait(lambda: Activation.objects.get(pk=activation.pk).state == "live")
        activation.refresh_from_db()
        assert serves(environment, activation.revision)


def test_an_opa_that_refuses_the_bundle_keeps_the_activation_from_going_live(build, environment, opa, now):
    ready = bundling.publish(environment, {"release": bundling.OPEN})
    stranger = ECKey.generate_key("P-256")
    keys = {bundlefile.key_id(stranger): {"algorithm": "ES256", "key": stranger.as_pem(private=False).decode()}}
    with opa(keys=keys):
        row = wait(lambda: Pdp.objects.filter(environment=environment).exclude(problem="").first())
        assert row.revision == ""
        assert "signature" in row.problem
        activation = build.requested(build.version("policy", "baseline", policy("baseline")))
        bundles.publish(environment.pk, now=now, using="bundler")
        activation.refresh_from_db()
        assert activations.finish(activation, **build.how).state == "published"
    # After 30 s of silence nobody waits for it any more.
    Pdp.objects.filter(environment=environment).update(last_seen=now - timedelta(seconds=31))
    assert activations.finish(activation, **build.how).state == "live"
    assert ready.revision != activation.revision


def test_an_opa_goes_on_deciding_while_we_are_away(environment, tmp_path, key):
    good = bundling.publish(environment, {"release": bundling.OPEN})
    with served() as url:
        server = Opa(tmp_path, url=url, environment=environment, key=key)
        wait(lambda: serves(environment, good.revision))
    with server:
        assert status(url) == 0
        assert server.decide(good.input("release"))["result"]["allow"] is True


def _rewritten(raw, changes):
    files = bundlefile._extract(raw)
    texts = {path: changes.get(path, text.decode()) for path, text in files.items()}
    return bundlefile._archive({path: text for path, text in texts.items() if text is not None})


def _resigned(raw):
    files = {
        path: text.decode()
        for path, text in bundlefile._extract(raw).items()
        if path not in (bundlefile.MANIFEST, bundlefile.SIGNATURES)
    }
    return bundlefile.pack(files, {}, key=ECKey.generate_key("P-256"))[0]
