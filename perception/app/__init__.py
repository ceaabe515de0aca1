"""The run of the pilot: command line, `check`, the meter, sinks, upkeep."""
