"""What leaves the pilot: log lines, records, pictures."""
