"""Isolation: commands in a folder of planted Python modules, on a machine without a network."""
