"""Runs the pilot for hours, restarts its camera again and again, and judges whether it stayed as it was."""
