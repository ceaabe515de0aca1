"""The run as video: one file, or a folder of segments."""
