"""Check that two versions of the code write and print the same."""
