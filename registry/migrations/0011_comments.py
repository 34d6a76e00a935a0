"""Comments, which never change, with a row for each time that one is settled; and the verdict that asks for changes."""

import audit.uuid7
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from audit.roles import grant


def frozen(table):
    """Return the statements that make the rows of `table` immutable, for its owner too."""
    return [
        f"CREATE TRIGGER frozen BEFORE UPDATE OR DELETE OR TRUNCATE ON registry_{table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION registry_refuse_change()",
        f"ALTER TABLE registry_{table} ENABLE ALWAYS TRIGGER frozen",
    ]


class Migration(migrations.Migration):

    dependencies = [
        ('registry', '0010_pdps'),
    ]

    operations = [
        migrations.CreateModel(
            name='Comment',
            fields=[
                ('id', models.UUIDField(default=audit.uuid7.uuid7, editable=False, primary_key=True, serialize=False)),
                ('digest', models.CharField(max_length=71)),
                ('path', models.CharField(blank=True, default='', max_length=500)),
                ('line', models.PositiveIntegerField(null=True)),
                ('text', models.TextField()),
                ('at', models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name='Resolution',
            fields=[
                ('id', models.UUIDField(default=audit.uuid7.uuid7, editable=False, primary_key=True, serialize=False)),
                ('resolved', models.BooleanField()),
                ('at', models.DateTimeField()),
            ],
            options={
                'abstract': False,
            },
        ),
        migrations.RemoveConstraint(
            model_name='approval',
            name='approval_verdict',
        ),
        migrations.AddConstraint(
            model_name='approval',
            constraint=models.CheckConstraint(condition=models.Q(('verdict__in', ['approve', 'reject', 'request_changes'])), name='approval_verdict'),
        ),
        migrations.AddField(
            model_name='comment',
            name='answers',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='answered_by', to='registry.comment'),
        ),
        migrations.AddField(
            model_name='comment',
            name='author',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='comment',
            name='proposal',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='comments', to='registry.proposal'),
        ),
        migrations.AddField(
            model_name='comment',
            name='version',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='comments', to='registry.version'),
        ),
        migrations.AddField(
            model_name='resolution',
            name='by',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='resolution',
            name='comment',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='resolutions', to='registry.comment'),
        ),
        migrations.AddConstraint(
            model_name='comment',
            constraint=models.CheckConstraint(condition=models.Q(('text', ''), _negated=True), name='comment_text'),
        ),
        migrations.AddConstraint(
            model_name='comment',
            constraint=models.CheckConstraint(condition=models.Q(('line', None), ('line__gte', 1), _connector='OR'), name='comment_line'),
        ),
        grant("registry_comment", web="SELECT, INSERT", worker="SELECT"),
        grant("registry_resolution", web="SELECT, INSERT", worker="SELECT"),
        *(migrations.RunSQL(statement) for table in ("comment", "resolution") for statement in frozen(table)),
    ]
