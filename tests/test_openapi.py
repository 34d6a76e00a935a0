"""The OpenAPI document is valid, tells every refusal, and no request that it allows breaks us."""

import json
from importlib.resources import files

import jsonschema
import pytest
from django.core.management import call_command

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
    served = world.send("anonymous", "GET", "/api/v1/openapi.json", Accept="application/vnd.oai.openapi+json")
    assert served.status_code == 200
    assert json.loads(served.content)["paths"].keys() == document["paths"].keys()
