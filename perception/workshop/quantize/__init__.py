"""Q/DQ models: the graph, its ranges, its check."""
