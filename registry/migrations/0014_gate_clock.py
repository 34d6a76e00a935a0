"""The gate compares with the time after the wait for it: a break-glass may have run out meanwhile."""

from importlib import import_module

from django.db import migrations

SHARE_GATE = import_module("registry.migrations.0005_resolution").SHARE_GATE
BEFORE = SHARE_GATE.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1)


class Migration(migrations.Migration):
    dependencies = [("registry", "0013_signatures")]

    operations = [migrations.RunSQL(BEFORE.replace("statement_timestamp()", "clock_timestamp()"), BEFORE)]
