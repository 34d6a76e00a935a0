"""Django's PostgreSQL backend with two things that a call in its hurry needs; see `base`."""
