"""The board: its files, its sources, its poller."""
