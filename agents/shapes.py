"""The bodies that the executor's REST views take and give."""

from rest_framework import serializers

from agents.models import Run, Step
from gateway.api.frame import PageQuery
from gateway.api.shapes import Shape


class RunRequest(Shape):
    """A task for an agent."""

    workspace = serializers.CharField(required=False, help_text="Slug; a credential may leave it out.")
    environment = serializers.CharField(required=False, help_text="A credential may leave it out.")
    agent = serializers.CharField(required=False, help_text="A credential may leave it out.")
    goal = serializers.CharField(help_text="What is to be done; trusted only from who may vouch for a user.")
    inputs = serializers.DictField(required=False, default=dict, help_text="The variables of the release's prompt.")
    on_behalf_of = serializers.CharField(required=False, max_length=500)


class CancellationRequest(Shape):
    """How a run is to end."""

    compensate = serializers.BooleanField(
        required=False, default=False, help_text="Undo what it has done, as far as its tools declare how."
    )


class RunQuery(PageQuery):
    """Which runs to list."""

    state = serializers.ChoiceField(choices=Run.State.choices, required=False)
    wait = serializers.ChoiceField(choices=[word for word in Run.Wait.values if word], required=False)
    environment = serializers.CharField(required=False)
    agent = serializers.CharField(required=False)


class RunRow(Shape):
    """One run in a list."""

    id = serializers.UUIDField()
    environment = serializers.CharField()
    agent = serializers.CharField()
    release = serializers.CharField()
    session = serializers.UUIDField()
    starter = serializers.CharField()
    on_behalf_of = serializers.CharField(allow_null=True)
    state = serializers.ChoiceField(choices=Run.State.choices)
    wait = serializers.CharField(
        allow_blank=True,
        help_text=f"What it waits for: {', '.join(filter(None, Run.Wait.values))}; empty if for nothing.",
    )
    code = serializers.CharField(allow_blank=True, help_text="Why it ended or waits.")
    message = serializers.CharField(allow_blank=True)
    correlation_id = serializers.CharField()
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    cancel_requested_at = serializers.DateTimeField(allow_null=True)


class StepRow(Shape):
    """One step of a run."""

    id = serializers.UUIDField()
    no = serializers.IntegerField()
    kind = serializers.CharField()
    name = serializers.CharField()
    state = serializers.ChoiceField(choices=Step.State.choices)
    code = serializers.CharField(allow_blank=True)
    call = serializers.UUIDField(allow_null=True)
    hold = serializers.UUIDField(allow_null=True)
    attempts = serializers.IntegerField(help_text="How often a worker took it up.")
    failures = serializers.IntegerField()
    not_before = serializers.DateTimeField(allow_null=True)
    lease_until = serializers.DateTimeField(allow_null=True)
    undoes = serializers.IntegerField(allow_null=True, help_text="Number of the step that this one compensates.")
    record = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)


class Change(Shape):
    """A call that changed something, or may have."""

    step = serializers.IntegerField()
    name = serializers.CharField()
    call = serializers.UUIDField()
    effect = serializers.CharField()
    state = serializers.CharField(help_text="completed: it happened; anything else: it may have happened.")


class RunDetail(RunRow):
    """One run with its steps."""

    goal = serializers.CharField(allow_null=True, help_text="Null when it was erased.")
    answer = serializers.CharField(allow_null=True)
    steps = StepRow(many=True)
    not_undone = Change(many=True, help_text="What a cancelled or compensated run did, or may have done, and stays.")


class RunPage(Shape):
    """A page of runs."""

    next = serializers.CharField(allow_null=True)
    results = RunRow(many=True)
