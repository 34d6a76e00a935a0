"""Sealed values stay beside their row up to a page: compressing what is encrypted is in vain, and a row elsewhere costs."""

from django.db import migrations

STORAGE = """
ALTER TABLE audit_sealedvalue ALTER COLUMN box SET STORAGE EXTERNAL;
ALTER TABLE audit_sealedvalue SET (toast_tuple_target = 8160);
"""
STORAGE_UNDONE = """
ALTER TABLE audit_sealedvalue ALTER COLUMN box SET STORAGE EXTENDED;
ALTER TABLE audit_sealedvalue RESET (toast_tuple_target);
"""


class Migration(migrations.Migration):
    dependencies = [("audit", "0007_halt")]

    operations = [migrations.RunSQL(STORAGE, STORAGE_UNDONE)]
