"""What a decision and an outcome change, as functions: one round trip each, whose plans PL/pgSQL keeps."""

from django.db import migrations

# Deleting the lease is what gives it back: whoever deletes it does so once. Nulls: what was reserved counts as used.
GIVE_BACK = """
    WITH gone AS (DELETE FROM public.gateway_lease WHERE call = of_call RETURNING counters, tokens, cost_micro_usd),
         locked AS (SELECT c.id FROM public.gateway_counter c WHERE c.id IN (SELECT unnest(counters) FROM gone)
                    ORDER BY c.id FOR UPDATE)
    UPDATE public.gateway_counter c
       SET under_way = greatest(c.under_way - 1, 0),
           tokens = greatest(c.tokens - gone.tokens + coalesce({tokens}, gone.tokens), 0),
           cost_micro_usd = greatest(c.cost_micro_usd - gone.cost_micro_usd + coalesce({cost}, gone.cost_micro_usd), 0)
      FROM gone, locked WHERE c.id = ANY(gone.counters) AND c.id = locked.id;
"""
USED = GIVE_BACK.format(tokens="used_tokens", cost="used_cost")
SETTLE = f"""
CREATE FUNCTION gateway_settle(of_call uuid, used_tokens bigint, used_cost bigint)
RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    {USED}
END $$
"""

# VOLATILE: each statement in it takes a new snapshot, so what was committed while it waited at the gate is seen.
# Without a gate (null) nothing is asked: a denial needs nobody's leave.
DECIDE = f"""
CREATE FUNCTION gateway_decide(
    gate bigint, of_workspace uuid, of_environment uuid, of_slot uuid, of_version uuid, of_parts uuid[], of_agent text,
    of_tool text, of_baseline text, of_credential uuid, of_session uuid, of_labels text[],
    of_call uuid, of_fence bigint, of_number integer, of_attempt uuid, new_state text, new_verdict text, new_code text,
    new_again boolean, new_effect text, new_release text, new_tool text, new_record uuid, used_hold uuid,
    new_decision text, new_gist text, leased double precision, new_window double precision)
RETURNS text LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    refused text;
    standing record;
    moment timestamptz;
BEGIN
    IF gate IS NOT NULL THEN
        refused := public.registry_share_gate(gate, of_workspace, of_environment, of_slot, of_version, of_parts,
                                              of_agent, of_tool, of_baseline);
        IF refused IS NOT NULL THEN
            RETURN refused;
        END IF;
        SELECT c.revoked_at IS NOT NULL AS revoked, coalesce(c.expires_at <= clock_timestamp(), false) AS expired,
               s.state, s.sticky, s.expires_at <= clock_timestamp() AS over, s.root_id INTO STRICT standing
          FROM public.gateway_credential c, public.gateway_session s WHERE c.id = of_credential AND s.id = of_session;
        IF standing.revoked OR standing.expired THEN
            RETURN CASE WHEN standing.revoked THEN 'credential_revoked' ELSE 'credential_expired' END;
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
    moment := clock_timestamp();
    UPDATE public.gateway_call
       SET state = new_state, code = new_code, again = new_again, attempt = of_number, session_id = of_session,
           effect = new_effect, release = new_release, tool_digest = new_tool, decided_record = new_record,
           outcome_record = NULL, lease_until = moment + leased * interval '1 s',
           repeatable_until = CASE WHEN new_state = 'decided' THEN coalesce(repeatable_until, moment + new_window * interval '1 s')
                                   ELSE repeatable_until END,
           expires_at = greatest(expires_at, moment + coalesce(new_window, 0) * interval '1 s'),
           finished_at = CASE WHEN new_state = 'denied' THEN moment END
     WHERE id = of_call AND fence = of_fence AND state = 'claimed';
    IF NOT FOUND THEN
        RETURN 'overtaken';
    END IF;
    INSERT INTO public.gateway_attempt (id, call_id, number, fence, verdict, state, code, hold, decision_id, gist,
                                        log_state, decided_record, finished_at)
    VALUES (of_attempt, of_call, of_number, of_fence, new_verdict, new_state, new_code, used_hold, new_decision,
            new_gist, CASE WHEN new_decision = '' THEN '' ELSE 'expected' END, new_record,
            CASE WHEN new_state <> 'decided' THEN moment END);
    IF new_state <> 'decided' THEN
    {GIVE_BACK.format(tokens=0, cost=0)}
    END IF;
    RETURN NULL;
END $$
"""

# A late answer is better than none: it may replace `unknown`, as long as no further attempt began.
FINISH = f"""
CREATE FUNCTION gateway_finish(
    of_call uuid, of_fence bigint, of_number integer, new_state text, new_code text, new_again boolean,
    new_fallback text, new_record uuid, used_tokens bigint, used_cost bigint)
RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
BEGIN
    UPDATE public.gateway_call
       SET state = new_state, code = new_code, again = new_again, outcome_record = new_record, fallback = new_fallback,
           finished_at = CASE WHEN new_state <> 'unknown' THEN clock_timestamp() END
     WHERE id = of_call AND attempt = of_number AND state IN ('decided', 'unknown')
       AND (fence = of_fence OR state = 'unknown');
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE public.gateway_attempt
       SET state = new_state, code = new_code, outcome_record = new_record, finished_at = clock_timestamp()
     WHERE call_id = of_call AND number = of_number;
    {USED}
    RETURN true;
END $$
"""


class Migration(migrations.Migration):
    dependencies = [("gateway", "0011_states")]

    operations = [
        migrations.RunSQL(SETTLE, "DROP FUNCTION gateway_settle"),
        migrations.RunSQL(DECIDE, "DROP FUNCTION gateway_decide"),
        migrations.RunSQL(FINISH, "DROP FUNCTION gateway_finish"),
    ]
