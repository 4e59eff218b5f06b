"""Rename options and data keys: compare two versions of the code, and rewrite committed data."""
