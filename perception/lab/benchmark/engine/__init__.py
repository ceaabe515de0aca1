"""Benchmarks of engines on a GPU."""
