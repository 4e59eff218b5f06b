"""The house style of figures: colours, axes, and files that have the same bytes when made again. Draws nothing."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

COLORS = {"ppo": "#0072B2", "actde": "#D55E00"}
"""Okabe and Ito's palette, legible to the colour-blind; other optimizers take matplotlib's cycle."""
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""The same palette for what is not an optimizer; tell lines apart by dashes as well, for print."""
WIDTH, HEIGHT = 9.5, 3.6
"""Inches, of a figure with two panels."""


def color_of(optimizer: str) -> Any:
    """An optimizer's colour, paler where it has settings of its own ("ppo+kl_coef=0.1"); None: matplotlib's next."""
    from matplotlib.colors import to_rgb

    name, *own = optimizer.split("+")
    color = COLORS.get(name)
    return color if color is None or not own else tuple(0.5 + 0.5 * part for part in to_rgb(color))


def make_figure(rows: int = 1, columns: int = 2, width: float = WIDTH, height: float = HEIGHT) -> Any:
    """A figure and its axes, without a frame at the top and on the right."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "actde"  # the same figure has the same bytes
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(rows, columns, figsize=(width, height), layout="constrained")
    for axis in np.ravel(axes):
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save_figure(figure: Any, path: Path) -> None:
    """Write the figure and let go of it."""
    from matplotlib import pyplot as plt

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", 'Creating legend with loc="best" can be slow')  # said where it took a second
        figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
