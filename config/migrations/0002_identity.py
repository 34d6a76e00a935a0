"""What the web process may do to the tables of sign-in: passwords' second factors, identities, sessions."""

from django.db import migrations

from audit.roles import grant

ROWS = "SELECT, INSERT, UPDATE, DELETE"


class Migration(migrations.Migration):
    dependencies = [
        ("config", "0001_grants"),
        ("account", "0009_emailaddress_unique_primary_email"),
        ("mfa", "0003_authenticator_type_uniq"),
        ("socialaccount", "0006_alter_socialaccount_extra_data"),
        ("usersessions", "0001_initial"),
    ]
    operations = [
        grant("mfa_authenticator", web=ROWS),
        grant("socialaccount_socialaccount", web=ROWS),
        grant("usersessions_usersession", web=ROWS, worker="SELECT, DELETE"),
        # allauth looks there; nothing is written: the provider stands in the settings, addresses on the person.
        grant("socialaccount_socialapp", web="SELECT"),
        grant("account_emailaddress", web="SELECT"),
    ]
