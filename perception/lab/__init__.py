"""Tools for developers: benchmark, soak, training."""
