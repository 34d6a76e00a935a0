"""The PAP: what may run, who agreed, where it is live."""
