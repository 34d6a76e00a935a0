"""The `placet` command: a client of the REST API, without Django; three commands work on this machine instead."""
