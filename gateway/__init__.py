"""The PEP: every call of every agent."""
