"""What the bundler publishes, and when: with its own database role and the real signing key."""

import subprocess
import sys
import threading
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connections

from audit import canonical
from audit.uuid7 import uuid7
from gateway import pdp
from registry import activations, bundle_keys, bundlefile, bundles, digest, policies, versions
from registry.management.commands import bundler
from registry.models import Activation, Bundle, Lifecycle, Pin, Version
from tests import embedded
from tests.policies import bundling
from tests.policies.inputs import document


@pytest.fixture
def no_draining(monkeypatch):
    """Let nothing be in use but what a test says."""
    monkeypatch.setattr(bundles, "_draining", [])


@pytest.fixture
def publish(now):
    """Return a function that does what the bundler does, as the bundler's role."""

    def run(environment):
        return bundles.publish(environment.pk, now=now, using="bundler")

    return run


def request(build, version, people):
    """Have `version` proposed, approved and its activation requested."""
    proposal = build.propose(version)
    build.approve(proposal, "bob")
    return activations.request(proposal, actor=people["olga"], **build.how)


def go_live(build, version, people, publish):
    activation = request(build, version, people)
    publish(activation.environment)
    activation.refresh_from_db()
    activation = activations.finish(activation, **build.how)
    assert activation.state == "live", activation.failure
    return activation


def read(environment):
    """Return the newest bundle, verified."""
    row = Bundle.objects.filter(environment=environment).order_by("-created_at").first()
    return bundlefile.unpack(bytes(row.content), keys=bundle_keys.pinned(settings.PLACET_KEYS))


def policy_of(version):
    return next(pin["digest"] for pin in versions.content_of(version)["pins"] if pin["kind"] == "policy")


def decide(environment, release, baseline, *changes):
    environment.refresh_from_db()
    place = {"agent": {"policy": policy_of(release), "environment": environment.name}, "baseline": baseline.digest}
    return pdp.decide(
        document(place, *changes),
        workspace=environment.workspace_id,
        environment=environment.name,
        revision=environment.bundle_revision,
        deadline_ms=20_000,
    )


def test_an_approved_release_is_published_goes_live_and_decides(build, people, publish, trail):
    baseline = build.version("policy", "baseline", policies.shipped("baseline"))
    release = build.release()
    environment = build.environment()
    assert bundles.waiting(using="bundler") == [] or environment.pk not in bundles.waiting(using="bundler")
    go_live(build, baseline, people, publish)
    activation = request(build, release, people)
    assert environment.pk in bundles.waiting(using="bundler")
    before = trail()
    revision = publish(environment)
    assert trail()[len(before) :] == ["registry.bundle.published", "registry.activation.published"]
    activation.refresh_from_db()
    assert (activation.state, activation.revision) == ("published", revision)
    assert environment.pk not in bundles.waiting(using="bundler")
    activations.finish(activation, **build.how)
    found = decide(environment, release, baseline)
    assert (found.failure, found.verdict, found.revision) == (None, "allow", revision)
    assert decide(environment, release, baseline, {"agent": {"environment": "lab"}}).verdict == "deny"


def test_the_manifest_names_every_policy_and_what_was_rendered(build, people, publish):
    baseline = build.version("policy", "baseline", policies.shipped("baseline"))
    release = build.release()
    environment = build.environment()
    go_live(build, baseline, people, publish)
    go_live(build, release, people, publish)
    bundle = read(environment)
    metadata = bundle.metadata
    assert metadata["workspace"] == str(build.workspace.pk)
    assert metadata["environment"] == "development"
    assert metadata["floor"] == policies.floor_digest()
    assert metadata["baselines"] == [baseline.digest]
    assert metadata["releases"] == [policy_of(release)]
    assert set(metadata["rendered"]) == {policies.floor_digest(), baseline.digest, policy_of(release)}
    assert all("data.policy" not in line for text in bundle.modules.values() for line in text.splitlines())
    assert not any("test" in path for path in bundle.modules)


def test_the_first_bundle_is_in_use_at_once_and_a_later_one_when_its_activation_finishes(build, people, publish):
    environment = build.environment()
    baseline = build.version("policy", "baseline", policies.shipped("baseline"))
    activation = request(build, baseline, people)
    first = publish(environment)
    environment.refresh_from_db()
    assert environment.bundle_revision == first
    activation.refresh_from_db()
    activations.finish(activation, **build.how)
    activation = request(build, build.release(), people)
    second = publish(environment)
    environment.refresh_from_db()
    assert environment.bundle_revision == first
    activation.refresh_from_db()
    activations.finish(activation, **build.how)
    environment.refresh_from_db()
    assert environment.bundle_revision == second


def test_nothing_new_publishes_nothing(build, people, publish, trail):
    environment = build.environment()
    go_live(build, build.version("policy", "baseline", policies.shipped("baseline")), people, publish)
    before = trail()
    assert publish(environment) is None
    assert trail() == before


def test_a_release_with_a_policy_that_is_there_already_needs_no_new_bundle(build, people, publish):
    environment = build.environment()
    go_live(build, build.version("policy", "baseline", policies.shipped("baseline")), people, publish)
    go_live(build, build.release(), people, publish)
    newest = read(environment).revision
    activation = request(build, build.release(budgets={"steps": 3}), people)
    assert publish(environment) is None
    activation.refresh_from_db()
    assert (activation.state, activation.revision) == ("published", newest)
    assert activations.finish(activation, **build.how).state == "live"


def changed(name):
    content = policies.shipped("release")
    content["data"]["denied"] = [name]
    return content


def test_live_and_requested_stand_side_by_side_and_what_has_drained_is_dropped(build, people, publish, no_draining):
    environment = build.environment()
    baseline = build.version("policy", "baseline", policies.shipped("baseline"))
    go_live(build, baseline, people, publish)
    old = build.release(policy_content=changed("old"))
    new = build.release(policy_content=changed("new"))
    go_live(build, old, people, publish)
    activation = request(build, new, people)
    publish(environment)
    both = sorted([policy_of(old), policy_of(new)])
    assert read(environment).metadata["releases"] == both
    activation.refresh_from_db()
    activations.finish(activation, **build.how)
    used = {policy_of(old)}
    bundles.register_draining(lambda pk, using: used if pk == environment.pk else ())
    assert publish(environment) is None
    assert decide(environment, old, baseline).allow
    # A session keeps its release: its digest does as well as that of the policy.
    used.clear()
    used.add(old.digest)
    assert publish(environment) is None
    used.clear()
    assert publish(environment) is not None
    assert read(environment).metadata["releases"] == [policy_of(new)]
    # Nobody waits for a bundle that only drops: it is in use, and the old release is undecided from now on.
    assert decide(environment, old, baseline).failure == "policy_undefined"
    assert decide(environment, new, baseline).allow


def test_what_stood_before_a_break_glass_stays_until_it_is_back(build, people, publish, no_draining):
    from registry import memberships

    environment = build.environment()
    go_live(build, build.version("policy", "baseline", policies.shipped("baseline")), people, publish)
    old = build.release(policy_content=changed("old"))
    go_live(build, old, people, publish)
    member = memberships.add(build.workspace, people["olga"], actor=people["adam"], **build.how)
    memberships.grant(member, "break_glass", environment=None, actor=people["adam"], **build.how)
    urgent = build.release(policy_content=changed("urgent"))
    activation = activations.break_glass(
        urgent, environment, actor=people["olga"], reason="Fire.", minutes=5, **build.how
    )
    publish(environment)
    activation.refresh_from_db()
    assert activations.finish(activation, **build.how).state == "live"
    publish(environment)
    assert read(environment).metadata["releases"] == sorted([policy_of(old), policy_of(urgent)])


def test_a_revoked_policy_is_left_out(build, people, publish):
    environment = build.environment()
    baseline = build.version("policy", "baseline", policies.shipped("baseline"))
    release = build.release()
    go_live(build, baseline, people, publish)
    go_live(build, release, people, publish)
    Lifecycle.objects.filter(version__digest=policy_of(release), version__workspace=build.workspace).update(
        state="revoked"
    )
    assert publish(environment) is not None
    assert read(environment).metadata["releases"] == []
    assert decide(environment, release, baseline).failure == "policy_undefined"


def force(build, environment, text, now):
    """Put a release with an unadmitted policy into an activation, as only a compromised web process could."""

    def row(kind, name, content):
        artifact = build.version(kind, name, policies.shipped("release")).artifact if kind == "policy" else None
        if artifact is None:
            artifact = build.release(name=name).artifact
        named = digest.of(kind, name, content)
        version = Version.objects.create(
            workspace=build.workspace,
            artifact=artifact,
            kind=kind,
            name=name,
            number=99,
            digest=named,
            content=canonical.dumps(content),
            created_at=now,
        )
        Lifecycle.objects.create(version=version, changed_at=now)
        return version

    policy = row("policy", "evil-policy", bundling.content(text))
    pins = [{"kind": "policy", "name": "evil-policy", "digest": policy.digest}]
    agent = row("agent", "evil", {"pins": pins, "budgets": {}})
    Pin.objects.create(version=agent, part=policy)
    return agent, Activation.objects.create(
        workspace=build.workspace,
        environment=environment,
        artifact=agent.artifact,
        version=agent,
        kind="activate",
        requested_at=now,
    )


@pytest.mark.parametrize(
    "text",
    [
        'package placet\n\ndecision := {"allow": true}\n',
        "package policy\n\nallow := data.placet.decision\n",
        "package policy\n\nallow if f(1)\n\nf(x) := f(x)\n",
        "package policy\n\nallow if http.send({})\n",
        "package policy\n\nallow := " + "[" * 20 + "]" * 20 + "\n",
        "package policy\n\nallow if {\n",
    ],
)
def test_a_policy_that_never_passed_the_gate_is_left_out_and_the_others_stay(build, people, publish, now, text, trail):
    environment = build.environment()
    baseline = build.version("policy", "baseline", policies.shipped("baseline"))
    release = build.release()
    go_live(build, baseline, people, publish)
    go_live(build, release, people, publish)
    evil, activation = force(build, environment, text, now)
    publish(environment)
    activation.refresh_from_db()
    assert (activation.state, activation.failure) == ("failed", "policy_unfit")
    assert trail()[-1] == "registry.activation.failed"
    assert read(environment).metadata["releases"] == [policy_of(release)]
    assert decide(environment, release, baseline).allow
    assert decide(environment, evil, baseline).failure == "policy_undefined"


def test_equal_rows_make_equal_files(build, people, publish):
    environment = build.environment()
    go_live(build, build.version("policy", "baseline", policies.shipped("baseline")), people, publish)
    go_live(build, build.release(), people, publish)
    one, two = (bundles.build(environment, using="bundler") for _ in range(2))
    assert one.files == two.files
    assert one.content == two.content
    assert one.content == read(environment).metadata["content"]


def test_two_bundlers_at_once_publish_once(build, people, publish):
    environment = build.environment()
    activation = request(build, build.version("policy", "baseline", policies.shipped("baseline")), people)
    found = []

    def run():
        found.append(publish(environment))
        connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found, key=str)[:2] == [None, None] or found.count(None) == 2
    activation.refresh_from_db()
    assert activation.state == "published"
    assert Bundle.objects.filter(environment=environment).count() == 1


def test_the_bundler_process_publishes_what_waits_and_keeps_its_key_to_itself(build, people):
    activation = request(build, build.version("policy", "baseline", policies.shipped("baseline")), people)
    command = [sys.executable, str(embedded.ROOT / "manage.py"), "bundler", "--once"]
    variables = embedded.environment(settings.PLACET_HOME) | {
        "PLACET_PROCESS": "bundler",
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "bundle(s) published" in done.stdout
    activation.refresh_from_db()
    assert activation.state == "published"
    assert (settings.PLACET_KEYS / "bundle.key").stat().st_mode & 0o777 == 0o600
    assert read(build.environment()).revision == activation.revision


def test_an_environment_that_cannot_be_published_holds_up_no_other(build, people):
    activation = request(build, build.version("policy", "baseline", policies.shipped("baseline")), people)
    nowhere = uuid7()
    assert bundler.publish_each([nowhere, activation.environment_id], using="bundler") == 1
    activation.refresh_from_db()
    assert activation.state == "published"


def test_the_web_role_cannot_write_a_bundle(build, people, now):
    from django.db import ProgrammingError

    environment = build.environment()
    with pytest.raises(ProgrammingError, match="permission denied"):
        bundling.publish(environment, {}, using="default")
    assert not Bundle.objects.filter(environment=environment).exists()


def test_a_bundle_is_found_by_place_and_revision_only(build, people, publish):
    environment = build.environment()
    go_live(build, build.version("policy", "baseline", policies.shipped("baseline")), people, publish)
    revision = read(environment).revision
    assert bundles.content_of(environment.pk, revision) == bundles.find(build.workspace.pk, "development", revision)
    assert bundles.find(build.workspace.pk, "staging", revision) is None
    assert bundles.find(environment.pk, "development", revision) is None
    assert (environment.pk, build.workspace.pk, "development", revision) in bundles.newest()


def test_an_expired_slot_brings_no_policy(build, people, publish, now, no_draining):
    from registry.models import Slot

    environment = build.environment()
    release = build.release()
    go_live(build, build.version("policy", "baseline", policies.shipped("baseline")), people, publish)
    go_live(build, release, people, publish)
    Slot.objects.filter(environment=environment, artifact=release.artifact).update(
        expires_at=now - timedelta(seconds=5)
    )
    assert bundles.build(environment, using="bundler").releases == set()
