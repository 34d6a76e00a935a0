"""Pages where people decide parked calls and see what became of any call."""
