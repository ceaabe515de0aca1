"""Linux, as every room asks it: files, locks, signals, child processes, notifications."""
