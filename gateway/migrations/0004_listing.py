"""What lists and searches find calls by; two indexes that others covered are gone."""

import django.db.models.deletion
import django.db.models.fields.json
import django.db.models.functions.comparison
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('gateway', '0003_tokens'),
    ]

    operations = [
        migrations.AlterField(
            model_name='attempt',
            name='call',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='attempts', to='gateway.call'),
        ),
        migrations.AlterField(
            model_name='call',
            name='credential',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='gateway.credential'),
        ),
        migrations.AlterField(
            model_name='call',
            name='session',
            field=models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='gateway.session'),
        ),
        migrations.AddIndex(
            model_name='call',
            index=models.Index(fields=['credential', 'id'], name='call_of_credential'),
        ),
        migrations.AddIndex(
            model_name='call',
            index=models.Index(fields=['workspace_id', 'name', 'id'], name='call_of_name'),
        ),
        migrations.AddIndex(
            model_name='call',
            index=models.Index(fields=['workspace_id', 'agent', 'id'], name='call_of_agent'),
        ),
        migrations.AddIndex(
            model_name='call',
            index=models.Index(condition=models.Q(('code', ''), _negated=True), fields=['workspace_id', 'code', 'id'], name='call_of_code'),
        ),
        migrations.AddIndex(
            model_name='call',
            index=models.Index(condition=models.Q(('state__in', ['parked', 'denied', 'failed', 'unknown'])), fields=['workspace_id', 'state', 'id'], name='call_not_done'),
        ),
        migrations.AddIndex(
            model_name='call',
            index=models.Index(django.db.models.fields.json.KeyTextTransform('id', 'run'), models.F('id'), condition=models.Q(('run__isnull', False)), name='call_of_run'),
        ),
        migrations.AddIndex(
            model_name='call',
            index=models.Index(models.F('workspace_id'), django.db.models.functions.comparison.Collate('key', 'C'), name='call_of_key'),
        ),
        migrations.AddIndex(
            model_name='call',
            index=models.Index(models.F('workspace_id'), django.db.models.functions.comparison.Collate('correlation_id', 'C'), name='call_of_correlation'),
        ),
        migrations.AddIndex(
            model_name='sessionlabel',
            index=models.Index(fields=['label', 'root'], name='session_label_of'),
        ),
    ]
