"""How well a model finds vehicles, and whether an engine finds as well as the model it was built from."""
