"""Pages where people look at what is registered, and agree to it."""
