"""Benchmarks: speed compared with named peers (other implementations), as ratios of times that are measured in one run.

Most modules are commands.
"""

import experiments as experiments  # protects the imports of a program (see `experiments.protect_imports`)
