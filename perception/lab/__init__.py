"""Tools of the makers: benchmark, soak, training."""
