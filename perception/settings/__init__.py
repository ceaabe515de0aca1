"""Settings: typed, read from YAML, changed while the pilot runs."""
