"""The path of an export in the tests."""
