"""The durable executor."""
