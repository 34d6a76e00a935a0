"""Work on a log that takes longer than a request: exports and inspections."""

import audit.uuid7
from audit.roles import grant
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("audit", "0004_record_event")]

    operations = [
        migrations.CreateModel(
            name="Job",
            fields=[
                ("id", models.UUIDField(default=audit.uuid7.uuid7, editable=False, primary_key=True, serialize=False)),
                ("workspace", models.UUIDField()),
                ("kind", models.TextField(help_text="export or inspection")),
                ("record", models.UUIDField(help_text="Of the request.")),
                ("actor", models.TextField()),
                ("detail", models.JSONField(default=dict)),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("queued", "Queued"),
                            ("running", "Running"),
                            ("done", "Done"),
                            ("failed", "Failed"),
                        ],
                        default="queued",
                    ),
                ),
                ("done", models.BigIntegerField(default=0, help_text="Records worked on.")),
                ("total", models.BigIntegerField()),
                ("result", models.JSONField(null=True)),
                ("code", models.TextField(blank=True, default="", help_text="Why it failed.")),
                ("problem", models.TextField(blank=True, default="")),
                ("fence", models.BigIntegerField(default=0)),
                ("lease_until", models.DateTimeField(null=True)),
                ("requested_at", models.DateTimeField()),
                ("started_at", models.DateTimeField(null=True)),
                ("finished_at", models.DateTimeField(null=True)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["workspace", "kind", "id"], name="audit_job_newest"),
                    models.Index(
                        models.F("id"),
                        condition=models.Q(("state__in", ["queued", "running"])),
                        name="audit_job_due",
                    ),
                ],
            },
        ),
        # Web asks, a worker does and says how far it is; neither forgets one.
        grant("audit_job", web="SELECT, INSERT", worker="SELECT, INSERT, UPDATE"),
    ]
