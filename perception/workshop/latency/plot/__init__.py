"""The page of plots of the latency report."""
