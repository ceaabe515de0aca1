"""The calibration set: pictures drawn from clips, on which INT8 finds the ranges of a network."""
