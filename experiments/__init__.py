"""Experiments: comparisons, the evaluation card, and the reproduction of the post by Turner and Einhorn (2023)."""

import actde as actde  # protects the imports of a program (see `actde.import_path`)
