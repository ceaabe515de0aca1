"""From weights to an engine in service: plan, stages, gate, installation."""
