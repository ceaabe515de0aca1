"""What records and logs say of the latency of a run, of any length, in fixed memory."""
