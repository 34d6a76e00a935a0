"""Which logs the publisher refuses to sign, for the processes that have to know."""

from django.db import migrations, models
from django.db.models.functions import Now

from audit.roles import grant


class Migration(migrations.Migration):
    dependencies = [("audit", "0006_rotation")]

    operations = [
        migrations.CreateModel(
            name="Halt",
            fields=[
                ("workspace", models.UUIDField(primary_key=True, serialize=False)),
                ("code", models.TextField()),
                ("detail", models.TextField()),
                ("since", models.DateTimeField(db_default=Now())),
            ],
        ),
        grant("audit_halt", publisher="SELECT, INSERT, UPDATE, DELETE", web="SELECT", worker="SELECT"),
    ]
