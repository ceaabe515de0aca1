"""Off the corridor: what measures and builds. Only scripts come in here."""
