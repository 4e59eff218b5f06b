"""The common style of all figures. The same figure always gives the same file."""

import io
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from games.files import atomic_write

# The colour-blind-safe palette by Okabe and Ito. Vary the dashes too: lines must differ in black-and-white print.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
COLORS = {"ppo": PALETTE[0], "actde": PALETTE[1]}
_PATH_DATA = re.compile(r'^(?:.* d=")?[MLQC] .*$', re.MULTILINE)
_LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")


def color_of(optimizer: str) -> Any:
    """Return the colour of an optimizer, or None. Variants such as "ppo+kl_coef=0.1" are paler."""
    from matplotlib.colors import to_rgb

    name, *settings = optimizer.split("+")
    color = COLORS.get(name)
    return color if color is None or not settings else tuple(0.5 + 0.5 * channel for channel in to_rgb(color))


def make_figure(rows: int = 1, columns: int = 2, width: float = 9.5, height: float = 3.6) -> Any:
    """Return a figure and its axes. `width` and `height` are in inches."""
    import matplotlib as mpl

    mpl.rcdefaults()  # matplotlib has read a file `matplotlibrc` of the current folder, which may even start programs
    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "actde"  # make SVG files reproducible
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(rows, columns, figsize=(width, height), layout="constrained")
    for axis in np.ravel(axes):
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def plot_runs(
    axis: Any, x: Sequence[Any], y: Sequence[Any], *, label: str, color: Any, style: Any, alpha: float = 0.35
) -> None:
    """Plot runs as thin lines, and the mean over runs as a bold line."""
    for run_x, run_y in zip(x, y, strict=True):
        axis.plot(*_without_nan(run_x, run_y), color=color, ls=style, lw=0.6, alpha=alpha)
    length = min(map(len, y))
    mean = np.mean([np.asarray(run[:length], dtype=float) for run in y], axis=0)
    axis.plot(*_without_nan(x[0][:length], mean), label=label, color=color, ls=style, lw=1.8)


def _without_nan(x: Sequence[Any], y: Sequence[Any]) -> tuple[Any, Any]:
    values = np.asarray(y, dtype=float)
    measured = ~np.isnan(values)
    return np.asarray(x)[measured], values[measured]


def with_short_numbers(svg: str) -> str:
    """Round the coordinates of an SVG's paths to two decimals."""
    return _PATH_DATA.sub(lambda path: _LONG_NUMBER.sub(lambda number: f"{float(number[0]):.2f}", path[0]), svg)


def save_figure(figure: Any, path: Path) -> None:
    """Write `figure` atomically, and close `figure`."""
    from matplotlib import pyplot as plt

    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", 'Creating legend with loc="best" can be slow')  # only if the machine is busy
        figure.savefig(content, format=path.suffix[1:], metadata={"Date": None})
    plt.close(figure)
    data = content.getvalue()
    atomic_write(path, with_short_numbers(data.decode()) if path.suffix == ".svg" else data)
