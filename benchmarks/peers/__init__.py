"""Peers of the benchmarks: other methods to choose commands, and drivers of other packages."""
