"""Tools that operators run offline: build, export, accuracy, calibration, latency."""
