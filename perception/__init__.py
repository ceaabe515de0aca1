"""The rooms a frame passes through, from the camera to the log."""
