"""A decision asks behind the gate whether somebody answers for the credential, and needs what was reserved for it."""

from importlib import import_module

from django.db import migrations

counted = import_module("gateway.migrations.0013_counted")
ORPHANED = """
               c.owner_id IS NOT NULL AND NOT EXISTS (
                   SELECT FROM public.registry_membership m JOIN public.registry_person p ON p.id = m.person_id
                    WHERE m.workspace_id = c.workspace_id AND m.person_id = c.owner_id AND m.active AND p.is_active
               ) AS orphaned,
               s.state, s.sticky,"""
# What was given back for leaked, because the decision took so long, is somebody else's by now; what was not, lasts as
# long as the call.
RESERVED = """
    IF new_state = 'decided' THEN
        PERFORM FROM public.gateway_lease
          WHERE call = of_call AND fence = of_fence AND until >= moment + leased * interval '1 s';
        IF NOT FOUND THEN
            UPDATE public.gateway_lease SET until = moment + leased * interval '1 s'
             WHERE call = of_call AND fence = of_fence;
            IF NOT FOUND THEN
                RETURN 'overtaken';
            END IF;
        END IF;
    END IF;
    INSERT INTO public.gateway_attempt"""
CHANGES = {
    "CREATE FUNCTION": "CREATE OR REPLACE FUNCTION",
    " s.state, s.sticky,": ORPHANED,
    "IF standing.revoked OR standing.expired THEN": "IF standing.revoked OR standing.expired OR standing.orphaned THEN",
    "ELSE 'credential_expired' END;": "WHEN standing.expired THEN 'credential_expired' ELSE 'credential_orphaned' END;",
    "\n    INSERT INTO public.gateway_attempt": RESERVED,
}


def changed(function: str, changes: dict[str, str]) -> str:
    """Return the text of a function with each change made, once."""
    for old, new in changes.items():
        if function.count(old) != 1:
            raise RuntimeError(f"{old!r} is not there once")
        function = function.replace(old, new)
    return function


class Migration(migrations.Migration):
    dependencies = [("gateway", "0013_counted"), ("registry", "0013_signatures")]

    operations = [
        migrations.RunSQL(
            changed(counted.DECIDE, CHANGES), counted.DECIDE.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")
        )
    ]
