"""Finds what is wrong with this machine, and the command that mends it. Uses Python's standard library alone."""
