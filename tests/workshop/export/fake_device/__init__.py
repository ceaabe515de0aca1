"""What an export finds on its path in the tests."""
