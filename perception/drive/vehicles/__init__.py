"""Vehicles and riders of the synthetic drive."""
