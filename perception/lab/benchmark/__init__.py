"""Honest numbers: every figure is a difference or a ratio of things measured side by side in one run."""
