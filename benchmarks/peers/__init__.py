"""Peers of the benchmarks: other methods that choose commands, and drivers of other packages."""
