"""The steps of an export that run in child processes."""
