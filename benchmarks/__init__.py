"""Benchmarks of speed, relative to other implementations (peers), and of reliability under faults.

Speed is reported as ratios of times that are measured in the same run. Most modules are commands.
"""

import actde as actde  # protects the imports of a program (see `actde.import_path`)
