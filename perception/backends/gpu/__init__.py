"""The GPU path: CUDA, our kernels, the pipeline of a launch."""
