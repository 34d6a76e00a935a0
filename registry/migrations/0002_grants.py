"""Who may do what to which table. Nobody may delete, and a column that never changes cannot be updated."""

from django.db import migrations

from audit.roles import grant

HISTORY = ("person", "membership", "grant", "environment", "proposal", "slot")


class Migration(migrations.Migration):
    dependencies = [("registry", "0001_models")]

    operations = [
        grant("registry_person", web="SELECT, INSERT, UPDATE", worker="SELECT"),
        # An update of any column is what FOR SHARE and FOR UPDATE ask for.
        grant(
            "registry_workspace",
            web="SELECT, INSERT, UPDATE (name)",
            worker="SELECT",
            bundler="SELECT",
            sequencer="SELECT",
            publisher="SELECT",
        ),
        grant(
            "registry_environment",
            web="SELECT, INSERT, UPDATE (protected, bundle_revision)",
            worker="SELECT, UPDATE (bundle_revision)",
            bundler="SELECT, UPDATE (bundle_revision)",
        ),
        grant("registry_membership", web="SELECT, INSERT, UPDATE (active)", worker="SELECT"),
        grant(
            "registry_grant",
            web="SELECT, INSERT, UPDATE (confirmed_by_id, confirmed_at, revoked_by_id, revoked_at)",
            worker="SELECT",
        ),
        grant("registry_artifact", web="SELECT, INSERT, UPDATE (count)", worker="SELECT", bundler="SELECT"),
        grant("registry_version", web="SELECT, INSERT", worker="SELECT", bundler="SELECT"),
        grant(
            "registry_lifecycle",
            web="SELECT, INSERT, UPDATE (state, changed_at)",
            worker="SELECT, UPDATE (changed_at)",
            bundler="SELECT",
        ),
        grant("registry_pin", web="SELECT, INSERT", worker="SELECT", bundler="SELECT"),
        grant("registry_provenance", web="SELECT, INSERT", worker="SELECT"),
        grant("registry_contributor", web="SELECT, INSERT", worker="SELECT"),
        grant("registry_check", web="SELECT, INSERT", worker="SELECT, INSERT", bundler="SELECT"),
        grant(
            "registry_proposal",
            web="SELECT, INSERT, UPDATE (state, concluded_at)",
            worker="SELECT, UPDATE (state, concluded_at)",
        ),
        grant("registry_approval", web="SELECT, INSERT, UPDATE (withdrawn_at)", worker="SELECT"),
        grant(
            "registry_activation",
            web="SELECT, INSERT, UPDATE (state, revision, failure, previous_id, published_at, finished_at, "
            "reverted_at, reviewed_by_id, reviewed_at, review)",
            worker="SELECT, INSERT, UPDATE (state, failure, previous_id, finished_at, reverted_at)",
            bundler="SELECT, UPDATE (state, revision, failure, published_at, finished_at)",
        ),
        grant(
            "registry_slot",
            web="SELECT, INSERT, UPDATE (version_id, changed_at, expires_at)",
            worker="SELECT, INSERT, UPDATE (version_id, changed_at, expires_at)",
            bundler="SELECT",
        ),
        grant("registry_slothistory", web="SELECT, INSERT", worker="SELECT, INSERT", bundler="SELECT"),
        grant("registry_evidence", web="SELECT, INSERT", worker="SELECT, INSERT"),
        grant("registry_bundle", web="SELECT", worker="SELECT", bundler="SELECT, INSERT"),
        grant(
            "registry_pdp",
            web="SELECT, INSERT, UPDATE, DELETE",
            worker="SELECT, INSERT, UPDATE, DELETE",
            bundler="SELECT",
        ),
        grant(
            "registry_stop",
            web="SELECT, INSERT, UPDATE (lifted_by_id, lifted_at)",
            worker="SELECT, INSERT",
        ),
        *(grant(f"registry_historical{model}", web="SELECT, INSERT", worker="SELECT, INSERT") for model in HISTORY),
    ]
