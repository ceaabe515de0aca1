"""Model files, and the layout of their output from evidence."""
