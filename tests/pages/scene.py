"""A workspace with something on every page of the registry. Everything goes through the domain's own functions."""

from copy import deepcopy

from tests.registry import builders

PROMPT_BEFORE = """You look after the git repository {{repository}}.
Read the log first. Commit only what the user asked for.
Answer in two sentences.
"""
PROMPT_AFTER = """You look after the git repository {{repository}}.
Read the log and the diff first. Commit only what the user asked for, and never rewrite history.
Answer in two sentences.
"""
COMMIT = {
    "description": "Record the staged changes in the repository, with a message.",
    "input_schema": {
        "type": "object",
        "properties": {
            "message": {"type": "string", "description": "The commit message, shown to everybody."},
            "paths": {"type": "array", "items": {"type": "string"}, "description": "What to commit."},
        },
        "required": ["message"],
        "additionalProperties": False,
    },
    "transport": {"kind": "python", "function": "echo"},
    "effect": "unsafe",
    "risk": "medium",
    "timeout_ms": 5000,
}


def prompt(build, template=PROMPT_BEFORE, **changes):
    return build.version("prompt", "system", template=template, **changes)


def changed_policy():
    """Return the starter policy with another time for its hold, and a name on its list of held tools."""
    content = deepcopy(builders.policy())
    content["modules"]["policy.rego"] = content["modules"]["policy.rego"].replace(
        '"quorum": 1, "expires_s": 3600', '"quorum": 1, "expires_s": 900'
    )
    content["data"]["held"] = ["git_commit"]
    return content


def first_release(build):
    """Release 1 of the steward, live in development."""
    release = build.release([prompt(build), build.version("model", "writer"), build.version()])
    build.live(release)
    return release


def second_release(build):
    """Release 2: another prompt, another policy, one tool more. Not approved."""
    tool = build.version("tool", "git_commit", COMMIT)
    parts = [prompt(build, PROMPT_AFTER), build.version("model", "writer"), build.version(), tool]
    return build.release(parts, policy_content=changed_policy(), budgets={"steps": 30, "tokens": 100_000})
