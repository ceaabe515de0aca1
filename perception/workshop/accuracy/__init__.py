"""Accuracy of a model, and of an engine beside the model that it was built from."""
