"""One file per runtime; each imports its heavy library only when it is opened."""
