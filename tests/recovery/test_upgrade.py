"""`up` starts nothing on a database that a newer Placet made, and says what to do."""

from tests.recovery.place import Place


def test_old_code_refuses_the_database_of_a_newer_placet():
    with Place().up() as place:
        place.query("INSERT INTO django_migrations (app, name, applied) VALUES ('registry', '0999_of_tomorrow', now())")
        place.down()
        said = place.manage("up", fails=1)
        assert "registry.0999_of_tomorrow" in said and "a newer one made it" in said
        assert "web" not in said
