"""Access tokens of persons, and the logins of devices. Only the logins, which are no evidence, are ever deleted."""

import audit.uuid7
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from audit.roles import grant


class Migration(migrations.Migration):

    dependencies = [
        ('registry', '0011_comments'),
    ]

    operations = [
        migrations.CreateModel(
            name='AccessToken',
            fields=[
                ('id', models.UUIDField(default=audit.uuid7.uuid7, editable=False, primary_key=True, serialize=False)),
                ('name', models.CharField(help_text='What it is for: the machine that asked, as it calls itself.', max_length=200)),
                ('prefix', models.TextField(help_text='The first characters, to recognise it by.')),
                ('hash', models.BinaryField(help_text='SHA-256 of the token.', unique=True)),
                ('created_at', models.DateTimeField()),
                ('expires_at', models.DateTimeField()),
                ('first_used_at', models.DateTimeField(null=True)),
                ('last_used_at', models.DateTimeField(null=True)),
                ('revoked_at', models.DateTimeField(null=True)),
                ('revoked_by', models.TextField(blank=True, default='', help_text='Actor.')),
                ('person', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='access_tokens', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'abstract': False,
            },
        ),
        migrations.CreateModel(
            name='DeviceLogin',
            fields=[
                ('id', models.UUIDField(default=audit.uuid7.uuid7, editable=False, primary_key=True, serialize=False)),
                ('device_hash', models.BinaryField(help_text='SHA-256 of what the program alone knows.', unique=True)),
                ('code', models.CharField(help_text='What the person compares.', max_length=9, unique=True)),
                ('machine', models.CharField(help_text='As it calls itself: proves nothing.', max_length=200)),
                ('address', models.GenericIPAddressField(help_text='Where the request came from.', null=True)),
                ('hours', models.PositiveSmallIntegerField(help_text='Life of the token that was asked for.')),
                ('state', models.CharField(default='pending', max_length=20)),
                ('created_at', models.DateTimeField()),
                ('expires_at', models.DateTimeField()),
                ('asked_at', models.DateTimeField(help_text='When the program last asked whether it was confirmed.', null=True)),
                ('person', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(models.Q(('person', None), ('state', 'pending')), models.Q(('person__isnull', False), ('state__in', ['confirmed', 'refused', 'collected'])), _connector='OR'), name='devicelogin_state')],
            },
        ),
        grant(
            "registry_accesstoken",
            web="SELECT, INSERT, UPDATE (first_used_at, last_used_at, revoked_at, revoked_by)",
        ),
        grant("registry_devicelogin", web="SELECT, INSERT, DELETE, UPDATE (state, person_id, asked_at)"),
    ]
