"""The registry over REST: a view translates, calls one function, and translates back."""
