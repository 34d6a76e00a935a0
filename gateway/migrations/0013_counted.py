"""Each call remembers whose budget of steps has counted it: once there, however often it is asked for."""

from importlib import import_module

from django.db import migrations, models

path = import_module("gateway.migrations.0012_path")
# What has reserved something already is not counted a second time when it goes on.
UNDER_WAY = """
UPDATE gateway_call SET counted_in = coalesce((run ->> 'id')::uuid, session_id)
WHERE live AND state IN ('parked', 'decided', 'unknown')
"""
DECIDE = path.DECIDE.replace(
    "new_window double precision)", "new_window double precision, new_counted uuid)"
).replace("outcome_record = NULL,", "outcome_record = NULL, counted_in = coalesce(new_counted, counted_in),")


class Migration(migrations.Migration):

    dependencies = [
        ('gateway', '0012_path'),
    ]

    operations = [
        migrations.AddField(
            model_name='call',
            name='counted_in',
            field=models.UUIDField(help_text='The run or session whose budget of steps counts it; null: none.', null=True),
        ),
        migrations.RunSQL(UNDER_WAY, migrations.RunSQL.noop),
        migrations.RunSQL("DROP FUNCTION gateway_decide", path.DECIDE),
        migrations.RunSQL(DECIDE, "DROP FUNCTION gateway_decide"),
    ]
