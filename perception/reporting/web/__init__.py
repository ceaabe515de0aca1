"""The live page, /metrics and /api/state: a server in a thread of its own, fed with frozen values alone."""
