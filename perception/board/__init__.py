"""The board a run happens on: temperatures, power, clocks, memory, throttling. Its failure never touches detection."""
