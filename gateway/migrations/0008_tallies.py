"""Decisions counted for charts. The sweeper writes them; whoever shows a chart reads them."""

import audit.uuid7
import django.contrib.postgres.fields
from audit.roles import grant
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("gateway", "0007_decisions")]

    operations = [
        migrations.CreateModel(
            name="Tally",
            fields=[
                ("id", models.UUIDField(default=audit.uuid7.uuid7, editable=False, primary_key=True, serialize=False)),
                ("workspace_id", models.UUIDField()),
                ("start", models.DateTimeField()),
                ("allow", models.IntegerField()),
                ("deny", models.IntegerField()),
                ("hold", models.IntegerField()),
                (
                    "durations",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.IntegerField(),
                        help_text="Executed attempts by duration: see gateway.tallies.EDGES.",
                        size=None,
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("workspace_id", "start"), name="tally_once")],
                "indexes": [models.Index(models.F("start"), name="tally_newest")],
            },
        ),
        grant("gateway_tally", web="SELECT", worker="SELECT, INSERT, UPDATE"),
    ]
