"""The transparency log: what was decided, done and changed, provable offline."""
