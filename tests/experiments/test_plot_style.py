"""The style of figures."""

from pathlib import Path

import matplotlib as mpl

from experiments import plot_style


def draw(path: Path) -> bytes:
    figure, axes = plot_style.make_figure()
    axes[0].plot([0, 1], [0, 1])
    axes[0].set_title("A line")
    plot_style.save_figure(figure, path)
    return path.read_bytes()


def test_a_figure_does_not_depend_on_a_configuration_of_matplotlib(tmp_path: Path) -> None:
    usual = draw(tmp_path / "usual.svg")
    with mpl.rc_context():
        mpl.rc("text", usetex=True)  # starts LaTeX
        mpl.rc("figure", facecolor="red")
        assert draw(tmp_path / "configured.svg") == usual


def test_coordinates_of_paths_are_rounded_and_scales_are_not() -> None:
    path = '<g transform="scale(0.015625)">\n<path d="M 39.904146 225.198979 \nL -1.005 3 \nz\n" style="width: 0.123"/>'
    short = '<g transform="scale(0.015625)">\n<path d="M 39.90 225.20 \nL -1.00 3 \nz\n" style="width: 0.123"/>'
    assert plot_style.with_short_numbers(path) == short
