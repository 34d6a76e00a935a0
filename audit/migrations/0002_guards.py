"""What the database itself holds true of the trail, whoever writes: append-only, and into `pending` on the way."""

from django.db import migrations

# SECURITY DEFINER, so that no runtime role needs a right on `pending`; the fixed search_path leaves nothing to shadow.
PENDING = """
CREATE FUNCTION audit_await_sequencing() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.audit_pending (workspace, record, leaf_hash) VALUES (NEW.workspace, NEW.id, NEW.leaf_hash);
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION audit_await_sequencing() FROM PUBLIC;
CREATE TRIGGER audit_record_pending AFTER INSERT ON audit_record
    FOR EACH ROW EXECUTE FUNCTION audit_await_sequencing();
ALTER TABLE audit_record ENABLE ALWAYS TRIGGER audit_record_pending;
"""
PENDING_UNDONE = """
DROP TRIGGER audit_record_pending ON audit_record;
DROP FUNCTION audit_await_sequencing();
"""

REFUSE = """
CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'the trail is append-only: % on % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;
"""
REFUSE_UNDONE = "DROP FUNCTION audit_refuse();"

APPEND_ONLY = """
CREATE TRIGGER {table}_append_only BEFORE {verbs} ON {table} FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_append_only;
"""
APPEND_ONLY_UNDONE = "DROP TRIGGER {table}_append_only ON {table};"
FROZEN = {
    "audit_record": "UPDATE OR DELETE OR TRUNCATE",
    "audit_leaf": "UPDATE OR DELETE OR TRUNCATE",
    "audit_checkpoint": "UPDATE OR DELETE OR TRUNCATE",
    "audit_tile": "DELETE OR TRUNCATE",
    "audit_head": "DELETE OR TRUNCATE",
}

# The right edge may only grow by whole hashes behind what stands there; a full tile is frozen by that alone.
GROW = """
CREATE FUNCTION audit_tile_grows() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (NEW.workspace, NEW.level, NEW.n) IS DISTINCT FROM (OLD.workspace, OLD.level, OLD.n)
       OR octet_length(NEW.hashes) <= octet_length(OLD.hashes)
       OR substr(NEW.hashes, 1, octet_length(OLD.hashes)) <> OLD.hashes THEN
        RAISE EXCEPTION 'the trail is append-only: tile %/% may only grow', OLD.level, OLD.n
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER audit_tile_grows BEFORE UPDATE ON audit_tile FOR EACH ROW EXECUTE FUNCTION audit_tile_grows();
ALTER TABLE audit_tile ENABLE ALWAYS TRIGGER audit_tile_grows;

CREATE FUNCTION audit_head_grows() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.workspace <> OLD.workspace OR NEW.size <= OLD.size THEN
        RAISE EXCEPTION 'the trail is append-only: a tree of % may not become one of %', OLD.size, NEW.size
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER audit_head_grows BEFORE UPDATE ON audit_head FOR EACH ROW EXECUTE FUNCTION audit_head_grows();
ALTER TABLE audit_head ENABLE ALWAYS TRIGGER audit_head_grows;
"""
GROW_UNDONE = """
DROP TRIGGER audit_tile_grows ON audit_tile;
DROP FUNCTION audit_tile_grows();
DROP TRIGGER audit_head_grows ON audit_head;
DROP FUNCTION audit_head_grows();
"""

# 65,535 bytes: an entry of c2sp.org/tlog-tiles has a 16-bit length.
CHECKS = """
ALTER TABLE audit_record
    ADD CONSTRAINT audit_record_leaf_hash CHECK (leaf_hash = sha256('\\x00'::bytea || body)),
    ADD CONSTRAINT audit_record_length CHECK (octet_length(body) BETWEEN 2 AND 65535);
ALTER TABLE audit_leaf ADD CONSTRAINT audit_leaf_index CHECK (index >= 0 AND octet_length(leaf_hash) = 32);
ALTER TABLE audit_tile
    ADD CONSTRAINT audit_tile_width CHECK (octet_length(hashes) BETWEEN 32 AND 8192 AND octet_length(hashes) % 32 = 0);
ALTER TABLE audit_tile ALTER COLUMN hashes SET STORAGE EXTERNAL;
ALTER TABLE audit_head ADD CONSTRAINT audit_head_root CHECK (size >= 0 AND octet_length(root) = 32);
ALTER TABLE audit_pending SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
"""
CHECKS_UNDONE = """
ALTER TABLE audit_record DROP CONSTRAINT audit_record_leaf_hash, DROP CONSTRAINT audit_record_length;
ALTER TABLE audit_leaf DROP CONSTRAINT audit_leaf_index;
ALTER TABLE audit_tile DROP CONSTRAINT audit_tile_width;
ALTER TABLE audit_head DROP CONSTRAINT audit_head_root;
"""


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_tables")]

    operations = [
        migrations.RunSQL(CHECKS, CHECKS_UNDONE),
        migrations.RunSQL(PENDING, PENDING_UNDONE),
        migrations.RunSQL(REFUSE, REFUSE_UNDONE),
        *(
            migrations.RunSQL(APPEND_ONLY.format(table=table, verbs=verbs), APPEND_ONLY_UNDONE.format(table=table))
            for table, verbs in FROZEN.items()
        ),
        migrations.RunSQL(GROW, GROW_UNDONE),
    ]
