"""The two questions that every call asks, as functions: PL/pgSQL keeps their plans, and planning was most of the cost."""

from django.db import migrations

# The version in the slot of an agent (digest null), or the one that a session keeps. `agreed` is false for what stands
# there by a break-glass whose time is over, or was never live by agreement.
COLUMNS = """
           environment.id, environment.bundle_revision::text, slot.id, version.id, version.digest::text,
           (SELECT held.digest::text FROM public.registry_slot base
              JOIN public.registry_artifact named ON named.id = base.artifact_id
              JOIN public.registry_version held ON held.id = base.version_id
             WHERE base.environment_id = environment.id AND named.kind = 'policy' AND named.name = 'baseline'
               AND (base.expires_at IS NULL OR base.expires_at > statement_timestamp())),
           {agreed},
           EXISTS (SELECT FROM public.registry_lifecycle life WHERE life.version_id = version.id
                      AND life.state = 'revoked')
           OR EXISTS (SELECT FROM public.registry_pin pin
                        JOIN public.registry_version part ON part.id = pin.part_id
                        JOIN public.registry_lifecycle life ON life.version_id = part.id
                       WHERE pin.version_id = version.id AND part.kind IN ('policy', 'prompt')
                         AND life.state = 'revoked')
"""
IN_SLOT = "slot.version_id = version.id AND (slot.expires_at IS NULL OR slot.expires_at > statement_timestamp())"
LIVE = COLUMNS.format(agreed=IN_SLOT)
KEPT = COLUMNS.format(
    agreed=f"""({IN_SLOT}) OR EXISTS (
               SELECT FROM public.registry_slothistory past
                WHERE past.environment_id = environment.id AND past.version_id = version.id
                  AND past.kind IN ('activate', 'rollback'))"""
)
RESOLVE = f"""
CREATE FUNCTION registry_resolve(of_workspace uuid, of_environment text, of_agent text, of_digest text)
RETURNS TABLE (environment_id uuid, revision text, slot_id uuid, version_id uuid, digest text, baseline text,
               agreed boolean, revoked boolean)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
BEGIN
    IF of_digest IS NULL THEN
        RETURN QUERY SELECT {LIVE}
          FROM public.registry_environment environment
          JOIN public.registry_artifact agent ON agent.workspace_id = of_workspace AND agent.kind = 'agent'
               AND agent.name = of_agent
          JOIN public.registry_slot slot ON slot.environment_id = environment.id AND slot.artifact_id = agent.id
          JOIN public.registry_version version ON version.id = slot.version_id
         WHERE environment.workspace_id = of_workspace AND environment.name = of_environment;
    ELSE
        RETURN QUERY SELECT {KEPT}
          FROM public.registry_environment environment
          JOIN public.registry_version version ON version.workspace_id = of_workspace AND version.digest = of_digest
               AND version.kind = 'agent'
          JOIN public.registry_slot slot ON slot.environment_id = environment.id
               AND slot.artifact_id = version.artifact_id
         WHERE environment.workspace_id = of_workspace AND environment.name = of_environment;
    END IF;
END $$
"""

# VOLATILE: each statement in it takes a new snapshot, so what was committed while it waited at the gate is seen.
SHARE_GATE = """
CREATE FUNCTION registry_share_gate(gate bigint, of_workspace uuid, of_environment uuid, of_slot uuid,
                                    of_version uuid, of_parts uuid[], of_agent text, of_tool text, of_baseline text)
RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    base record;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(gate);
    PERFORM FROM public.registry_stop
      WHERE workspace_id = of_workspace AND lifted_at IS NULL
        AND (scope = 'workspace' OR (scope = 'agent' AND target = of_agent) OR (scope = 'tool' AND target = of_tool));
    IF FOUND THEN
        RETURN 'stopped';
    END IF;
    SELECT held.digest, life.state INTO base
      FROM public.registry_slot slot
      JOIN public.registry_artifact named ON named.id = slot.artifact_id
      JOIN public.registry_version held ON held.id = slot.version_id
      JOIN public.registry_lifecycle life ON life.version_id = held.id
     WHERE slot.environment_id = of_environment AND named.kind = 'policy' AND named.name = 'baseline'
       AND (slot.expires_at IS NULL OR slot.expires_at > statement_timestamp());
    PERFORM FROM public.registry_lifecycle WHERE version_id = ANY (of_parts) AND state = 'revoked';
    IF FOUND OR base.state = 'revoked' THEN
        RETURN 'version_revoked';
    END IF;
    PERFORM FROM public.registry_slot
      WHERE id = of_slot
        AND (expires_at IS NULL OR expires_at > statement_timestamp() OR version_id IS DISTINCT FROM of_version);
    IF NOT FOUND THEN
        RETURN 'break_glass_expired';
    END IF;
    IF base.digest IS DISTINCT FROM of_baseline THEN
        RETURN 'release_changed';
    END IF;
    RETURN NULL;
END $$
"""


class Migration(migrations.Migration):
    dependencies = [("registry", "0004_mappers")]

    operations = [migrations.RunSQL(RESOLVE), migrations.RunSQL(SHARE_GATE)]
