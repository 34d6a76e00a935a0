"""Three references of the path of a call that the database need not check with each one: see gateway.models.calls."""

from django.db import migrations, models

PROTECT = models.deletion.PROTECT


class Migration(migrations.Migration):
    dependencies = [("gateway", "0015_recorded")]

    operations = [
        migrations.AlterField(
            "attempt",
            "call",
            models.ForeignKey("gateway.call", PROTECT, related_name="attempts", db_index=False, db_constraint=False),
        ),
        migrations.AlterField(
            "call",
            "credential",
            models.ForeignKey("gateway.credential", PROTECT, related_name="+", db_index=False, db_constraint=False),
        ),
        migrations.AlterField(
            "call",
            "session",
            models.ForeignKey(
                "gateway.session", PROTECT, null=True, related_name="+", db_index=False, db_constraint=False
            ),
        ),
    ]
