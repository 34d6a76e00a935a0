"""The newest records of one event, however rare it is among the others."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("audit", "0003_grants")]

    operations = [
        migrations.AddIndex(
            model_name="record",
            index=models.Index(fields=["workspace", "event", "id"], name="audit_record_event"),
        ),
    ]
