from django.db import migrations

from audit.roles import grant

CALLERS = {
    "gateway_credential": "SELECT, INSERT, UPDATE",
    "gateway_historicalcredential": "SELECT, INSERT",
    "gateway_key": "SELECT, INSERT, UPDATE",
    "gateway_session": "SELECT, INSERT, UPDATE",
    # No UPDATE, no DELETE: labels only grow.
    "gateway_sessionlabel": "SELECT, INSERT",
    "gateway_call": "SELECT, INSERT, UPDATE",
    "gateway_attempt": "SELECT, INSERT, UPDATE",
    "gateway_hold": "SELECT, INSERT, UPDATE",
    "gateway_holdapproval": "SELECT, INSERT",
    "gateway_counter": "SELECT, INSERT, UPDATE",
    "gateway_lease": "SELECT, INSERT, UPDATE, DELETE",
}

# A hold is used once, whoever writes the UPDATE.
SINGLE_USE = """
CREATE FUNCTION gateway_hold_is_final() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'hold % is % for good', OLD.id, OLD.state USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER gateway_hold_single_use BEFORE UPDATE ON gateway_hold FOR EACH ROW
    WHEN (OLD.state IN ('rejected', 'released', 'void', 'expired')) EXECUTE FUNCTION gateway_hold_is_final();
ALTER TABLE gateway_hold ENABLE ALWAYS TRIGGER gateway_hold_single_use;
"""
SINGLE_USE_UNDONE = """
DROP TRIGGER gateway_hold_single_use ON gateway_hold;
DROP FUNCTION gateway_hold_is_final();
"""


class Migration(migrations.Migration):
    dependencies = [("gateway", "0001_models")]

    operations = [
        *(grant(table, web=rights, worker=rights) for table, rights in CALLERS.items()),
        # The bundler keeps the policies of open sessions and calls in the bundle.
        grant("gateway_session", bundler="SELECT"),
        migrations.RunSQL(SINGLE_USE, SINGLE_USE_UNDONE),
    ]
