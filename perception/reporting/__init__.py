"""The outputs of the pilot: log lines, records, page, messages, recordings."""
