"""Experiments: comparisons, the evaluation card, and the reproduction of the post. Some are run by `python -m`."""

import actde as actde  # protects the imports of a program (see `actde.import_path`)
