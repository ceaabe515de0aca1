"""What is wrong with this machine, and the command that mends it. Needs nothing but Python's standard library."""
