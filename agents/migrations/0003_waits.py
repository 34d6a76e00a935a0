"""Runs that wait, and with them the steps that were given up, are found without reading the others."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("agents", "0002_rights")]

    operations = [
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(("state", "waiting")), fields=["workspace_id", "-id"], name="run_waits"
            ),
        ),
    ]
