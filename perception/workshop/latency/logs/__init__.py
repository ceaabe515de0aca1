"""Logs as the latency report reads them: files, the journal, lines of text."""
