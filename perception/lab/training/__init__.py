"""The weights that ship with the project: their data, their training and their figures."""
