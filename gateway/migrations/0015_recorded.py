"""What a decision and an outcome change, and the records of them, in one function each: one round trip, one commit.

Both return why nothing was changed, null if everything was.
"""

from importlib import import_module

from django.db import migrations

path, counted, standing = (
    import_module(f"gateway.migrations.{name}") for name in ("0012_path", "0013_counted", "0014_standing")
)
RECORD = """its_id uuid, of_workspace uuid, of_event text, of_actor text, of_correlation text, its_body bytea,
    its_hash bytea, ids uuid[], paths text[], keys uuid[], boxes bytea[]"""
# The record stands in the transaction of what it tells of, or neither does.
APPEND = """
    PERFORM public.audit_insert(its_id, of_workspace, of_event, of_actor, of_correlation, its_body, its_hash, ids,
                                paths, keys, boxes);
"""

# VOLATILE: each statement in it takes a new snapshot, so what was committed while it waited at the gate is seen.
# Without a gate (null) nothing is asked: a denial needs nobody's leave.
DECIDE = f"""
CREATE FUNCTION gateway_decide(
    gate bigint, at_workspace uuid, at_environment uuid, at_slot uuid, of_version uuid, of_parts uuid[], of_agent text,
    of_tool text, of_baseline text, of_credential uuid, of_session uuid, of_labels text[],
    of_call uuid, of_fence bigint, of_number integer, of_attempt uuid, new_state text, new_verdict text, new_code text,
    new_again boolean, new_effect text, new_release text, new_tool text, used_hold uuid, new_decision text,
    new_gist text, leased double precision, new_window double precision, new_counted uuid,
    {RECORD})
RETURNS text LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    refused text;
    standing record;
    moment timestamptz;
BEGIN
    IF gate IS NOT NULL THEN
        refused := public.registry_share_gate(gate, at_workspace, at_environment, at_slot, of_version, of_parts,
                                              of_agent, of_tool, of_baseline);
        IF refused IS NOT NULL THEN
            RETURN refused;
        END IF;
        SELECT c.revoked_at IS NOT NULL AS revoked, coalesce(c.expires_at <= clock_timestamp(), false) AS expired,
               c.owner_id IS NOT NULL AND NOT EXISTS (
                   SELECT FROM public.registry_membership m JOIN public.registry_person p ON p.id = m.person_id
                    WHERE m.workspace_id = c.workspace_id AND m.person_id = c.owner_id AND m.active AND p.is_active
               ) AS orphaned,
               s.state, s.sticky, s.expires_at <= clock_timestamp() AS over, s.root_id INTO STRICT standing
          FROM public.gateway_credential c, public.gateway_session s WHERE c.id = of_credential AND s.id = of_session;
        IF standing.revoked OR standing.expired OR standing.orphaned THEN
            RETURN CASE WHEN standing.revoked THEN 'credential_revoked'
                        WHEN standing.expired THEN 'credential_expired' ELSE 'credential_orphaned' END;
        END IF;
        IF standing.state <> 'open' OR standing.over THEN
            -- A sticky one has expired because another call found a new release and went on in a new session.
            RETURN CASE WHEN standing.sticky AND standing.state = 'expired' THEN 'release_changed'
                        WHEN standing.state = 'closed' THEN 'session_closed' ELSE 'session_expired' END;
        END IF;
        IF of_labels IS NOT NULL THEN
            IF of_labels IS DISTINCT FROM ARRAY(
                   SELECT label FROM public.gateway_sessionlabel WHERE root_id = standing.root_id ORDER BY label) THEN
                RETURN 'release_changed';
            END IF;
        END IF;
    END IF;
    IF NOT public.audit_kept(keys) THEN
        RETURN 'erased';
    END IF;
    moment := clock_timestamp();
    -- What was given back for leaked, because the decision took so long, is somebody else's by now; what was not, lasts
    -- as long as the call. Nothing may be changed where the answer is 'overtaken': this is the whole transaction.
    IF new_state = 'decided' THEN
        PERFORM FROM public.gateway_lease
          WHERE call = of_call AND fence = of_fence AND until >= moment + leased * interval '1 s';
        IF NOT FOUND THEN
            PERFORM FROM public.gateway_call WHERE id = of_call AND fence = of_fence AND state = 'claimed' FOR UPDATE;
            IF NOT FOUND THEN
                RETURN 'overtaken';
            END IF;
            UPDATE public.gateway_lease SET until = moment + leased * interval '1 s'
             WHERE call = of_call AND fence = of_fence;
            IF NOT FOUND THEN
                RETURN 'overtaken';
            END IF;
        END IF;
    END IF;
    UPDATE public.gateway_call
       SET state = new_state, code = new_code, again = new_again, attempt = of_number, session_id = of_session,
           effect = new_effect, release = new_release, tool_digest = new_tool, decided_record = its_id,
           outcome_record = NULL, counted_in = coalesce(new_counted, counted_in),
           lease_until = moment + leased * interval '1 s',
           repeatable_until = CASE WHEN new_state = 'decided'
               THEN coalesce(repeatable_until, moment + new_window * interval '1 s') ELSE repeatable_until END,
           expires_at = greatest(expires_at, moment + coalesce(new_window, 0) * interval '1 s'),
           finished_at = CASE WHEN new_state = 'denied' THEN moment END
     WHERE id = of_call AND fence = of_fence AND state = 'claimed';
    IF NOT FOUND THEN
        RETURN 'overtaken';
    END IF;
    INSERT INTO public.gateway_attempt (id, call_id, number, fence, verdict, state, code, hold, decision_id, gist,
                                        log_state, decided_record, finished_at)
    VALUES (of_attempt, of_call, of_number, of_fence, new_verdict, new_state, new_code, used_hold, new_decision,
            new_gist, CASE WHEN new_decision = '' THEN '' ELSE 'expected' END, its_id,
            CASE WHEN new_state <> 'decided' THEN moment END);
    IF new_state <> 'decided' THEN
    {path.GIVE_BACK.format(tokens=0, cost=0)}
    END IF;
    {APPEND}
    RETURN NULL;
END $$
"""

# A late answer is better than none: it may replace `unknown`, as long as no further attempt began.
FINISH = f"""
CREATE FUNCTION gateway_finish(
    of_call uuid, of_fence bigint, of_number integer, new_state text, new_code text, new_again boolean,
    new_fallback text, used_tokens bigint, used_cost bigint, {RECORD})
RETURNS text LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
BEGIN
    IF NOT public.audit_kept(keys) THEN
        RETURN 'erased';
    END IF;
    UPDATE public.gateway_call
       SET state = new_state, code = new_code, again = new_again, outcome_record = its_id, fallback = new_fallback,
           finished_at = CASE WHEN new_state <> 'unknown' THEN clock_timestamp() END
     WHERE id = of_call AND attempt = of_number AND state IN ('decided', 'unknown')
       AND (fence = of_fence OR state = 'unknown');
    IF NOT FOUND THEN
        RETURN 'overtaken';
    END IF;
    UPDATE public.gateway_attempt
       SET state = new_state, code = new_code, outcome_record = its_id, finished_at = clock_timestamp()
     WHERE call_id = of_call AND number = of_number;
    {path.USED}
    {APPEND}
    RETURN NULL;
END $$
"""


class Migration(migrations.Migration):
    dependencies = [("gateway", "0014_standing"), ("audit", "0009_append")]

    operations = [
        migrations.RunSQL("DROP FUNCTION gateway_decide", standing.changed(counted.DECIDE, standing.CHANGES)),
        migrations.RunSQL("DROP FUNCTION gateway_finish", path.FINISH),
        migrations.RunSQL(DECIDE, "DROP FUNCTION gateway_decide"),
        migrations.RunSQL(FINISH, "DROP FUNCTION gateway_finish"),
    ]
