"""What the database refuses whoever asks: changed evidence, illegal moves, approvals that name a contributor."""

from django.db import migrations

APPEND_ONLY = ("version", "pin", "provenance", "contributor", "check", "slothistory", "evidence")

# A frozen copy of registry.transitions as of this migration; a test compares them.
MOVES = {
    "proposal": [("open", "approved"), ("open", "withdrawn"), ("open", "rejected"), ("open", "expired")],
    "lifecycle": [
        ("available", "deprecated"),
        ("deprecated", "retired"),
        ("available", "revoked"),
        ("deprecated", "revoked"),
        ("retired", "revoked"),
    ],
}

REFUSE_CHANGE = """
CREATE FUNCTION registry_refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: its rows never change', TG_OP, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$
"""


def frozen(table: str) -> list[str]:
    """Return the statements that make the rows of `table` immutable, for its owner too."""
    return [
        f"CREATE TRIGGER frozen BEFORE UPDATE OR DELETE OR TRUNCATE ON registry_{table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION registry_refuse_change()",
        f"ALTER TABLE registry_{table} ENABLE ALWAYS TRIGGER frozen",
    ]


def moves(table: str) -> list[str]:
    """Return the statements that let the state of `table` move only along its transitions."""
    pairs = ", ".join(f"('{old}', '{new}')" for old, new in MOVES[table])
    return [
        f"""
CREATE FUNCTION registry_{table}_moves() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN ({pairs}) THEN
        RAISE EXCEPTION 'A {table} cannot go from % to %', OLD.state, NEW.state USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$
""",
        f"CREATE TRIGGER moves BEFORE UPDATE ON registry_{table} FOR EACH ROW "
        f"EXECUTE FUNCTION registry_{table}_moves()",
        f"ALTER TABLE registry_{table} ENABLE ALWAYS TRIGGER moves",
    ]


# A version is approved in an environment if it was activated there, alone or as a part, or if a proposal that went
# through holds a standing approval of it. Revocation is a matter of its own.
APPROVED_THERE = """
CREATE FUNCTION registry_approved_there(version uuid, environment uuid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT EXISTS (
        SELECT FROM public.registry_slothistory history
        WHERE history.environment_id IS NOT DISTINCT FROM $2 AND history.kind = 'activate'
          AND (history.version_id = $1 OR EXISTS (
              SELECT FROM public.registry_pin pin WHERE pin.version_id = history.version_id AND pin.part_id = $1))
    ) OR EXISTS (
        SELECT FROM public.registry_approval approval
        JOIN public.registry_proposal proposal ON proposal.id = approval.proposal_id
        WHERE approval.version_id = $1 AND proposal.environment_id IS NOT DISTINCT FROM $2
          AND proposal.state = 'approved' AND approval.verdict = 'approve'
          AND approval.withdrawn_at IS NULL AND approval.expires_at > statement_timestamp())
$$
"""

# SECURITY DEFINER: the guard sees every row whatever the caller may read. The search path is fixed, pg_temp last.
APPROVAL_GUARD = """
CREATE FUNCTION registry_approval_guard() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    proposed public.registry_proposal;
    concerned uuid[];
BEGIN
    SELECT * INTO proposed FROM public.registry_proposal WHERE id = NEW.proposal_id;
    IF NOT FOUND OR proposed.state NOT IN ('open', 'approved') THEN
        RAISE EXCEPTION 'proposal_not_open' USING ERRCODE = 'check_violation';
    END IF;
    IF proposed.environment_id IS DISTINCT FROM NEW.environment_id THEN
        RAISE EXCEPTION 'approval_environment' USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.version_id <> proposed.version_id AND NOT EXISTS (
        SELECT FROM public.registry_pin WHERE version_id = proposed.version_id AND part_id = NEW.version_id
    ) THEN
        RAISE EXCEPTION 'approval_version' USING ERRCODE = 'check_violation';
    END IF;
    IF NOT EXISTS (SELECT FROM public.registry_version WHERE id = NEW.version_id AND digest = NEW.digest) THEN
        RAISE EXCEPTION 'approval_digest' USING ERRCODE = 'check_violation';
    END IF;
    concerned := ARRAY[NEW.version_id, proposed.version_id] || ARRAY(
        SELECT part_id FROM public.registry_pin
        WHERE version_id = proposed.version_id
          AND NOT public.registry_approved_there(part_id, proposed.environment_id));
    IF NEW.approver_id = proposed.proposer_id OR EXISTS (
        SELECT FROM public.registry_contributor
        WHERE version_id = ANY (concerned) AND person_id = NEW.approver_id
    ) THEN
        RAISE EXCEPTION 'approver_is_contributor' USING ERRCODE = 'check_violation';
    END IF;
    IF EXISTS (
        SELECT FROM public.registry_contributor unknown
        WHERE unknown.version_id = ANY (concerned) AND unknown.person_id IS NULL AND NOT EXISTS (
            SELECT FROM public.registry_contributor known
            WHERE known.version_id = unknown.version_id AND known.identity = unknown.identity
              AND known.person_id IS NOT NULL)
    ) THEN
        RAISE EXCEPTION 'contributor_unmapped' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$
"""

APPROVAL_KEPT = """
CREATE FUNCTION registry_approval_kept() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF OLD.withdrawn_at IS NOT NULL OR NEW.withdrawn_at IS NULL
       OR to_jsonb(NEW) - 'withdrawn_at' <> to_jsonb(OLD) - 'withdrawn_at' THEN
        RAISE EXCEPTION 'An approval can only be withdrawn, once' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""

OPERATIONS = [
    REFUSE_CHANGE,
    *(statement for table in APPEND_ONLY for statement in frozen(table)),
    *(statement for table in MOVES for statement in moves(table)),
    APPROVED_THERE,
    APPROVAL_GUARD,
    "REVOKE ALL ON FUNCTION registry_approval_guard() FROM PUBLIC",
    "CREATE TRIGGER guard BEFORE INSERT ON registry_approval FOR EACH ROW EXECUTE FUNCTION registry_approval_guard()",
    "ALTER TABLE registry_approval ENABLE ALWAYS TRIGGER guard",
    APPROVAL_KEPT,
    "CREATE TRIGGER kept BEFORE UPDATE ON registry_approval FOR EACH ROW EXECUTE FUNCTION registry_approval_kept()",
    "ALTER TABLE registry_approval ENABLE ALWAYS TRIGGER kept",
    "CREATE TRIGGER frozen BEFORE DELETE OR TRUNCATE ON registry_approval "
    "FOR EACH STATEMENT EXECUTE FUNCTION registry_refuse_change()",
    "ALTER TABLE registry_approval ENABLE ALWAYS TRIGGER frozen",
]


class Migration(migrations.Migration):
    dependencies = [("registry", "0002_grants")]

    operations = [migrations.RunSQL(statement) for statement in OPERATIONS]
