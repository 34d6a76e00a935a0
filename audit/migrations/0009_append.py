"""Appending a record with its sealed values, as functions: one round trip, alone or inside of another function."""

from django.db import migrations

PARAMETERS = """record uuid, of_workspace uuid, of_event text, of_actor text, of_correlation text, its_body bytea,
    its_hash bytea, ids uuid[], paths text[], keys uuid[], boxes bytea[]"""
# Whether values sealed with `keys` can be kept. If not, a subject was erased since, and they are sealed anew.
KEPT = """
CREATE FUNCTION audit_kept(keys uuid[]) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF cardinality(keys) = 0 THEN
        RETURN true; -- not every role may look at the keys
    END IF;
    -- One look-up each, not a join: a plan made while there were few keys must not read all of them for ever.
    RETURN NOT EXISTS (SELECT FROM unnest(keys) AS one (key)
                        WHERE (SELECT true FROM public.audit_valuekey held WHERE held.id = one.key) IS NULL);
END $$
"""
# A key that goes after it was looked for leaves a value behind that nobody can read: it was erased, a moment later.
BODY = """
    INSERT INTO public.audit_record (id, workspace, event, actor, correlation_id, body, leaf_hash)
    VALUES (record, of_workspace, of_event, of_actor, of_correlation, its_body, its_hash);
    IF cardinality(ids) > 0 THEN
        INSERT INTO public.audit_sealedvalue (id, workspace, record, path, key, box)
        SELECT one.id, of_workspace, {name}.record, one.path, one.key, one.box
          FROM unnest(ids, paths, keys, boxes) AS one (id, path, key, box);
    END IF;
"""
INSERT = f"""
CREATE FUNCTION audit_insert({PARAMETERS}) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    {BODY.format(name="audit_insert")}
END $$
"""
APPEND = f"""
CREATE FUNCTION audit_append({PARAMETERS}) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF NOT public.audit_kept(keys) THEN
        RETURN false;
    END IF;
    {BODY.format(name="audit_append")}
    RETURN true;
END $$
"""


class Migration(migrations.Migration):
    dependencies = [("audit", "0008_sealed_storage")]

    operations = [
        migrations.RunSQL(KEPT, "DROP FUNCTION audit_kept"),
        migrations.RunSQL(INSERT, "DROP FUNCTION audit_insert"),
        migrations.RunSQL(APPEND, "DROP FUNCTION audit_append"),
    ]
