from django.db import migrations

from audit.roles import grant


class Migration(migrations.Migration):
    dependencies = [("audit", "0005_job")]

    operations = [
        # Rewrapping changes how a data key is wrapped, and nothing else.
        grant("audit_valuekey", web="UPDATE (wrapped, kek)", worker="UPDATE (wrapped, kek)"),
        # The publisher reads where its next key was announced.
        grant("audit_record", publisher="SELECT"),
        grant("audit_leaf", publisher="SELECT"),
    ]
