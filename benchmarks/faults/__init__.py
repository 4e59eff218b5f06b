"""Faults in files: hostile but legal JSON, damaged lines, changed tensors and special files."""
