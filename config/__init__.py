"""Settings, URLs, processes, errors."""
