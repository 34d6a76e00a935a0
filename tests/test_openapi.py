"""The OpenAPI document is valid, tells every refusal, and no request that it allows breaks us."""

import json
import time
from importlib.resources import files

import jsonschema
import pytest
import schemathesis
from django.core.management import call_command
from schemathesis.engine import events, from_schema

from config.wsgi import application
from tests.matrix import ROWS, V1

pytest_plugins = ["tests.shared"]
METHODS = ("get", "post", "put", "patch", "delete")


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    """The document as the command writes it; a warning of the generator is an error."""
    path = tmp_path_factory.mktemp("openapi") / "openapi.json"
    call_command("spectacular", format="openapi-json", file=str(path), fail_on_warn=True, validate=True)
    return json.loads(path.read_text())


def operations(document):
    return [
        (f"{method.upper()} {path}", path, item[method])
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    ]


def test_the_document_is_openapi_3_1(document):
    schema = json.loads(files("drf_spectacular").joinpath("validation/openapi_3_1_schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(document)
    assert document["openapi"].startswith("3.1")


def test_every_operation_has_a_name_of_its_own(document):
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))


def test_every_operation_says_how_it_refuses(document):
    wrong = []
    for name, path, operation in operations(document):
        answers = operation["responses"]
        needed = (
            {"401", "403"} | ({"404"} if "{" in path else set()) | ({"400"} if "requestBody" in operation else set())
        )
        if not path.endswith("openapi.json") and needed - answers.keys():
            wrong.append((name, sorted(needed - answers.keys())))
        for status, answer in answers.items():
            if status >= "400" and list(answer.get("content", {})) != ["application/problem+json"]:
                wrong.append((name, status, list(answer.get("content", {}))))
    assert wrong == []


def test_the_address_serves_what_the_command_writes(document, world):
    served = world.send("anonymous", "GET", "/api/v1/openapi.json")
    assert (served.status_code, served["Content-Type"]) == (200, "application/vnd.oai.openapi+json")
    assert json.loads(served.content)["paths"].keys() == document["paths"].keys()


SECONDS = {"short": 40, "long": 900}  # at most, for each role; on a quiet machine the phases end by themselves before
TOKEN = "t" * 32
# What a schema cannot say is refused with 400, 412, 422 or 428: a cursor of somebody else's, a day in the past, a
# digest that was not looked at. That every address knows its caller is the matter of tests/test_permissions.py, which
# asks as nobody, too: here the session is in a cookie that the check does not take away.
SEMANTIC = ["2xx", "400", "401", "403", "404", "409", "410", "412", "413", "422", "428", "429"]
# Nothing governed is ever gone: DELETE switches a membership off, or lifts a stop; the row stays to be read.
CHECKS = {
    "positive_data_acceptance": {"expected-statuses": SEMANTIC},
    "ignored_auth": {"enabled": False},
    "use_after_free": {"enabled": False},
}
PHASES = ("examples", "coverage", "fuzzing", "stateful")


def fuzz(length):
    """Return the configuration: all phases and checks; in the short form without the phases that only go on longer."""
    wanted = PHASES if length == "long" else ("examples", "coverage")
    phases = {name: {"enabled": name in wanted} for name in PHASES}
    phases["coverage"]["unexpected-methods"] = []
    return {
        "seed": 1,
        "suppress-health-check": ["all"],
        "phases": phases,
        "checks": CHECKS,
        "generation": {
            "database": "none",
            "deterministic": True,
            "with-security-parameters": False,
            "max-examples": 40 if length == "long" else 5,
        },
    }


def grounded(document, world):
    """Return the document with ids of rows that exist as examples: what is asked for is mostly there."""
    known = {}
    for row in ROWS:
        if row.route.startswith(V1) and "<" in row.route:
            about = world.ask(row).about
            world.unused.pop(row)  # the requests use it up: no later test may count on it
            known["/" + _plain(row.route)] = {name.partition(":")[2]: str(value) for name, value in about.items()}
    for path, item in document["paths"].items():
        for method in METHODS:
            for parameter in item.get(method, {}).get("parameters", ()):
                if parameter["in"] == "path" and path in known:
                    parameter["schema"] = {"type": "string", "enum": [known[path][parameter["name"]]]}
                if parameter["name"] == "workspace":
                    parameter["schema"] = {"type": "string", "enum": [world.slug, "nowhere", ""]}
    return document


def _plain(route):
    for kind in ("uuid:", "slug:", "str:", "path:", "int:"):
        route = route.replace(f"<{kind}", "{")
    return route.replace(">", "}")


def findings(document, world, role, length):
    """Let schemathesis make requests as `role`; return what was answered how often, and everything that it finds."""
    if role == "agent":
        signed = {"HTTP_AUTHORIZATION": f"Bearer {world.keys['agent']}"}
    else:
        world.client(role)
        signed = {"HTTP_COOKIE": f"placet_session={world.cookies[role]}; csrftoken={TOKEN}", "HTTP_X_CSRFTOKEN": TOKEN}
    config = schemathesis.Config.from_dict(fuzz(length))
    schema = schemathesis.openapi.from_dict(grounded(json.loads(json.dumps(document)), world), config=config)
    schema.app = lambda environ, start: application(environ | signed, start)
    until = time.monotonic() + SECONDS[length]
    answered, found = {}, {}
    stream = from_schema(schema).execute()
    for event in stream:
        if isinstance(event, events.NonFatalError):
            found.setdefault("error", str(event.value)[:500])
        if isinstance(event, events.ScenarioFinished):
            for pk, one in event.recorder.interactions.items():
                status = one.response.status_code if one.response else None
                answered.setdefault(status, set()).add(event.recorder.label)
                for check in event.recorder.checks.get(pk, ()):
                    if check.failure_info:
                        case = event.recorder.cases[pk].value
                        said = (status, check.failure_info.failure.message[:300], case.path_parameters, case.query)
                        found.setdefault((check.name, event.recorder.label), (*said, repr(case.body)[:200]))
        if time.monotonic() > until:
            stream.stop()
    return answered, found


@pytest.mark.parametrize("role", ["alice", "agent"])
def test_no_request_that_the_document_allows_breaks_us(document, world, role):
    """Schemathesis makes the requests, the real application answers them, over WSGI."""
    answered, found = findings(document, world, role, "short")
    assert not found, "\n".join(f"{what}: {how}" for what, how in found.items())
    assert {200, 400} <= answered.keys()


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("role", ["agent", "alice", "adam"])  # each may revoke what the one before has
def test_every_phase_of_schemathesis_finds_nothing(document, world, role):
    """All phases, the stateful one too: what one answer names is asked for in the next request."""
    answered, found = findings(document, world, role, "long")
    assert not found, "\n".join(f"{what}: {how}" for what, how in found.items())
    assert {200, 201, 400, 404} <= answered.keys()
