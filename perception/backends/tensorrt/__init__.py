"""Engine files: identity, sidecar, run time."""
