"""Building an engine with TensorRT, in a child process."""
