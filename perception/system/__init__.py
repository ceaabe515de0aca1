"""Access to Linux for all other packages: files, locks, signals, child processes, notifications."""
