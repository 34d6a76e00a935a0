"""Who may do what to the trail. Only the sequencer builds the tree; only the publisher writes checkpoints."""

from django.db import migrations

from audit.roles import grant

READ = {"web": "SELECT", "worker": "SELECT"}


class Migration(migrations.Migration):
    dependencies = [("audit", "0002_guards")]

    operations = [
        grant("audit_record", web="SELECT, INSERT", worker="SELECT, INSERT", bundler="INSERT"),
        grant("audit_pending", sequencer="SELECT, DELETE", **READ),
        grant("audit_leaf", sequencer="SELECT, INSERT", **READ),
        grant("audit_tile", sequencer="SELECT, INSERT, UPDATE", publisher="SELECT", **READ),
        grant("audit_head", sequencer="SELECT, INSERT, UPDATE", publisher="SELECT", **READ),
        grant("audit_checkpoint", publisher="SELECT, INSERT", **READ),
        # DELETE of a key is erasure.
        grant("audit_valuekey", web="SELECT, INSERT, DELETE", worker="SELECT, INSERT, DELETE"),
        grant("audit_sealedvalue", web="SELECT, INSERT", worker="SELECT, INSERT"),
    ]
