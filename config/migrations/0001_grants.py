"""What the runtime roles may do to Django's own tables."""

from django.db import migrations

from audit.roles import grant


class Migration(migrations.Migration):
    dependencies = [
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("sessions", "0001_initial"),
    ]
    operations = [
        grant("django_session", web="SELECT, INSERT, UPDATE, DELETE", worker="SELECT, DELETE"),
        grant("django_content_type", web="SELECT", worker="SELECT"),
        grant("auth_permission", web="SELECT", worker="SELECT"),
        grant("auth_group", web="SELECT"),
        grant("auth_group_permissions", web="SELECT"),
        grant("django_admin_log", web="SELECT, INSERT"),
        grant("django_migrations", web="SELECT", worker="SELECT"),
    ]
