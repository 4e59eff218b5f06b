"""The style of figures."""

from pathlib import Path

import matplotlib as mpl

from experiments import plot_style


def test_a_figure_does_not_depend_on_a_configuration_of_matplotlib(tmp_path: Path) -> None:
    configured = {"text.usetex": True, "lines.linewidth": 9.0, "figure.facecolor": "red"}
    for name, style in (("usual.svg", {}), ("configured.svg", configured)):
        with mpl.rc_context(style):
            figure, axes = plot_style.make_figure()
            axes[0].plot([0, 1], [0, 1])
            axes[0].set_title("A line")
            plot_style.save_figure(figure, tmp_path / name)
    assert (tmp_path / "configured.svg").read_bytes() == (tmp_path / "usual.svg").read_bytes()
