"""The bodies that the trail's REST views take and give."""

from rest_framework import serializers


class Problem(serializers.Serializer[dict[str, object]]):
    """RFC 9457: what happened, which field, what to do."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    code = serializers.CharField()
    detail = serializers.CharField()
    instance = serializers.CharField()  # type: ignore[assignment]
    correlation_id = serializers.CharField()
    field = serializers.CharField(required=False, help_text="The input at fault, if one is.")


class RecordQuery(serializers.Serializer[dict[str, object]]):
    """Which records to list, the newest first."""

    workspace = serializers.CharField(help_text="Slug of the workspace.")
    event = serializers.CharField(required=False, help_text="An event, or a prefix that ends in a dot: `gateway.`.")
    actor = serializers.CharField(
        required=False, help_text="`person:<uuid>`, `credential:<uuid>` or `system:<process>`."
    )
    correlation_id = serializers.CharField(required=False, help_text="What belongs to one request, call or run.")
    since = serializers.DateTimeField(required=False, help_text="Recorded then or later.")
    until = serializers.DateTimeField(required=False, help_text="Recorded earlier.")
    cursor = serializers.CharField(required=False, help_text="From `next` of the page before.")
    limit = serializers.IntegerField(required=False, default=50, min_value=1, max_value=200)


class Record(serializers.Serializer[dict[str, object]]):
    """One record. `index` is null until it is in the tree."""

    id = serializers.UUIDField()
    workspace = serializers.UUIDField()
    index = serializers.IntegerField(allow_null=True)
    event = serializers.CharField()
    actor = serializers.CharField()
    correlation_id = serializers.CharField()
    at = serializers.DateTimeField()
    subjects = serializers.DictField(child=serializers.CharField())
    data = serializers.DictField()  # type: ignore[assignment]
    leaf_hash = serializers.CharField(help_text="SHA-256(0x00 || body), hex.")


class RecordDetail(Record):
    """One record with the bytes that are hashed."""

    body = serializers.CharField(help_text="The canonical JSON, byte for byte.")


class RecordPage(serializers.Serializer[dict[str, object]]):
    """A page of records."""

    next = serializers.CharField(allow_null=True, help_text="Address of the next page; null at the end.")
    results = Record(many=True)


class InclusionProof(serializers.Serializer[dict[str, object]]):
    """That a record is in the log."""

    record = serializers.UUIDField()
    index = serializers.IntegerField()
    leaf_hash = serializers.CharField(help_text="base64")
    path = serializers.ListField(child=serializers.CharField(), help_text="base64; the leaf's sibling first")
    checkpoint = serializers.CharField(help_text="The signed note.")
    tlog_proof = serializers.CharField(help_text="The same as c2sp.org/tlog-proof.")


class ProofQuery(serializers.Serializer[dict[str, object]]):
    """Under which checkpoint to prove."""

    size = serializers.IntegerField(required=False, min_value=1, help_text="Size of a checkpoint; default: the newest.")


class CheckpointQuery(serializers.Serializer[dict[str, object]]):
    """Which checkpoints to list, the newest first."""

    workspace = serializers.CharField(help_text="Slug of the workspace.")
    cursor = serializers.CharField(required=False, help_text="From `next` of the page before.")
    limit = serializers.IntegerField(required=False, default=50, min_value=1, max_value=200)


class Checkpoint(serializers.Serializer[dict[str, object]]):
    """A signed tree head. Keep `note` outside this system: it is what later exports are checked against."""

    id = serializers.UUIDField()
    workspace = serializers.UUIDField()
    size = serializers.IntegerField()
    root = serializers.CharField(help_text="base64")  # type: ignore[assignment]
    note = serializers.CharField()
    key = serializers.CharField(help_text="The public key that verifies it. Pin the one you got by another way.")
    at = serializers.DateTimeField()


class CheckpointPage(serializers.Serializer[dict[str, object]]):
    """A page of checkpoints."""

    next = serializers.CharField(allow_null=True, help_text="Address of the next page; null at the end.")
    results = Checkpoint(many=True)


class ConsistencyQuery(serializers.Serializer[dict[str, object]]):
    """From which earlier size."""

    def get_fields(self) -> dict[str, serializers.Field]:  # type: ignore[type-arg]
        """`from` is a word of Python's, so it cannot be a class attribute."""
        return {"from": serializers.IntegerField(min_value=0, help_text="Size of an earlier checkpoint.")}


class ConsistencyProof(serializers.Serializer[dict[str, object]]):
    """That the log of `to` records begins with its first `from` ones."""

    to = serializers.IntegerField()
    proof = serializers.ListField(child=serializers.CharField(), help_text="base64")

    def get_fields(self) -> dict[str, serializers.Field]:  # type: ignore[type-arg]
        """`from` is a word of Python's, so it cannot be a class attribute."""
        return {"from": serializers.IntegerField(), **super().get_fields()}


class ExportRequest(serializers.Serializer[dict[str, object]]):
    """What to export. With any of event, actor, correlation_id or records it is an excerpt, else the whole log."""

    workspace = serializers.CharField(help_text="Slug of the workspace.")
    size = serializers.IntegerField(required=False, min_value=1, help_text="End with this checkpoint; default: newest.")
    first = serializers.IntegerField(required=False, default=0, min_value=0, help_text="Begin at this index.")
    event = serializers.CharField(required=False, help_text="An event, or a prefix that ends in a dot.")
    actor = serializers.CharField(required=False)
    correlation_id = serializers.CharField(required=False)
    records = serializers.ListField(child=serializers.UUIDField(), required=False, max_length=1000)
    since = serializers.ListField(
        child=serializers.IntegerField(min_value=0),
        required=False,
        max_length=20,
        help_text="Sizes of checkpoints that an excerpt shall prove to continue.",
    )


class Export(serializers.Serializer[dict[str, object]]):
    """An export. Its content never changes: the record of its creation fixes it."""

    id = serializers.UUIDField()
    workspace = serializers.UUIDField()
    kind = serializers.ChoiceField(choices=["log", "excerpt"])
    size = serializers.IntegerField(help_text="Size of the checkpoint that it ends with.")
    first = serializers.IntegerField()
    actor = serializers.CharField()
    at = serializers.DateTimeField()
    content = serializers.CharField(help_text="Address of the NDJSON.")


class ExportPage(serializers.Serializer[dict[str, object]]):
    """A page of exports."""

    next = serializers.CharField(allow_null=True, help_text="Address of the next page; null at the end.")
    results = Export(many=True)
