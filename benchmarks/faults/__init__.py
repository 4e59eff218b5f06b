"""Fault injection into files, processes, environments, disks and memory: commands must refuse a fault or survive it."""
