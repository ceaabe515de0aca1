"""The latency report: counts records and logs of any length in fixed memory."""
