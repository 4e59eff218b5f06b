"""Benchmarks: speed compared with named peers (other implementations), as ratios of times that are measured in one run.

Most modules are commands.
"""

import actde as actde  # protects the imports of a program (see `actde.import_path`)
