"""Faults in files, processes, environments, disks and memory, which commands refuse in one line or survive."""
