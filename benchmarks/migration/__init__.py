"""Proof and execution of the renames of options and data keys: two versions compared, committed data rewritten."""
