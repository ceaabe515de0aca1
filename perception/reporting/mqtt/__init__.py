"""Events to a fleet over MQTT: docs/mqtt.md tells the topics and their messages."""
