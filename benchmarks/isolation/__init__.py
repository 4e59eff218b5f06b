"""Isolation: commands run next to planted Python modules and hostile files, on a machine without a network."""
