"""Nouns and pure maths: numpy and the standard library alone."""
