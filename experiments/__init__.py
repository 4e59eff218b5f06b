"""Experiments: comparisons, the evaluation card, and the reproduction of the post."""

import actde as actde  # protects the imports of a program (see `actde.import_path`)
