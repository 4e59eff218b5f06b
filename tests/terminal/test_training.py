"""Progress of a training within its iterations, and Ctrl-C."""

import io
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from rich.console import Console

from agents.config import TrainConfig
from agents.training import factory, presets
from agents.training.factory import make_trainer
from agents.training.progress import Progress
from terminal import console, training

METRICS = {"iteration": 0, "seconds": 1.0, "reward": 0.5}


class Told(Progress):
    """Progress that keeps what it would show."""

    lines: list[str]

    def count(self, event: Any, tokens: int = 0) -> None:
        Progress.count(self, event, tokens)
        self.lines.append(str(self))


def run_of(*steps: Any) -> Any:
    """A trainer whose two iterations call these functions before they end."""
    trainer = SimpleNamespace(
        config=TrainConfig.from_flat({"iterations": 2}),
        schedule=SimpleNamespace(specs=[]),
        progress=Progress("rollout", 5, 16, 231, 12_004),
        iteration=0,
        saved=0,
        stopping=False,
    )

    def run() -> Iterator[dict[str, float]]:
        for number, step in enumerate(steps):
            step()
            trainer.iteration += 1
            yield METRICS | {"iteration": number}

    trainer.run = run
    return trainer


def interrupted() -> None:
    signal.raise_signal(signal.SIGINT)
    time.sleep(0.5)  # the panel is drawn four times a second


def test_progress_counts_episodes_turns_and_tokens(tmp_path: Path) -> None:
    settings = {"game": "textworld:coin?level=2&seed=1", "trunk": "pico", "episodes": 3, "max_turns": 4, "epochs": 2}
    tests = {"eval_game": "textworld:coin?level=2&seed=2", "eval_episodes": 2, "iterations": 1}
    trainer = make_trainer(TrainConfig.from_flat(settings | tests), tmp_path / "run")
    trainer.progress = told = Told()
    told.lines = []
    trainer.held_out, held_out = None, trainer.held_out
    [metrics] = trainer.run()
    turns = metrics["env_steps"]
    assert told.lines[0].startswith("rollout: 0 of 3 episodes, 1 turns, ")
    assert told.lines[-1].startswith(f"rollout: 3 of 3 episodes, {turns} turns, ")
    assert told.phase == "update" and told.done == told.total > 0
    assert held_out is not None
    held_out.measure(1, told)
    assert told.lines[-1].startswith("evaluation: 2 of 2 episodes, ") and told.lines[-1].endswith(" tokens")


def test_in_a_pipe_a_long_iteration_prints_its_progress(capsys: pytest.CaptureFixture[str]) -> None:
    trainer = run_of(lambda: time.sleep(1.3), lambda: None)
    training.follow(trainer, "title", quiet=False)
    out, errors = capsys.readouterr()
    assert errors == "iteration 1, rollout: 5 of 16 episodes, 231 turns, 12,004 tokens\n"
    assert [line.split()[0] for line in out.splitlines()] == ["1/2", "2/2"]


def test_short_iterations_print_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    training.follow(run_of(*[lambda: time.sleep(0.6)] * 2), "title", quiet=False)
    assert capsys.readouterr().err == ""


def test_ctrl_c_says_at_once_what_happens_next(capsys: pytest.CaptureFixture[str]) -> None:
    trainer = run_of(interrupted, lambda: None)
    handler = signal.getsignal(signal.SIGINT)
    training.follow(trainer, "title", quiet=False)
    stops = "stopping after this iteration; press Ctrl-C again to stop now and lose"
    assert trainer.stopping and capsys.readouterr().err == f"{stops} the run so far\n"
    assert signal.getsignal(signal.SIGINT) is handler
    trainer.saved = 10
    assert training.stop_line(trainer) == f"{stops} what is newer than iteration 10"


def test_a_second_ctrl_c_stops_at_once() -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        training.follow(run_of(twice), "title", quiet=True)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_ctrl_c_during_the_setup_ends_all_processes_at_the_same_point(
    processes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    layers = presets.with_presets([presets.Layer("test", {"game": "bandit", "trunk": "pico", "iterations": 1})])
    settings = presets.from_layers(layers)
    trainer = make_trainer(settings, folder)

    def interrupted_setup(*arguments: Any, **options: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return trainer

    monkeypatch.setattr(factory, "make_trainer", interrupted_setup)
    monkeypatch.setenv("WORLD_SIZE", processes)
    begin = partial(training.run, settings, folder, resume=False, origins=presets.origins(layers), quiet=True)
    if processes == "1":
        with pytest.raises(typer.Exit):
            begin()
        continues = f"train --resume --out {folder}"
        assert continues in capsys.readouterr().err
    else:
        assert begin() == (trainer, None)
        assert trainer.stopped and not trainer.iteration
        assert capsys.readouterr().err == "stopping after the setup; press Ctrl-C again to stop now\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_panel_shows_progress_and_does_not_overwrite_what_ctrl_c_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(console, "out", Console(file=screen, force_terminal=True, width=100, highlight=False))
    training.follow(run_of(interrupted, lambda: None), "title", quiet=False)
    frames = screen.getvalue().split("title")
    stops = [number for number, frame in enumerate(frames) if "stopping after this iteration" in frame]
    assert stops and all("231 turns, 12,004 tokens" in frames[number] for number in stops)
    assert "231 turns" not in frames[-1], "the last picture shows the end"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("rate", "text"), [(1234.6, "1235"), (12.3, "12"), (8.25, "8.2"), (0.133, "0.13"), (0.0, "0")])
def test_a_small_rate_has_two_digits(rate: float, text: str) -> None:
    assert training.with_interval({"steps_per_second": rate}, "steps_per_second", "{:z.0f}") == text


def test_an_evaluation_is_shown_with_its_interval() -> None:
    ends = {"eval_success": 0.85, "eval_success_low": 0.64, "eval_success_high": 0.95}
    first = {f"initial_{name}": value for name, value in ends.items()}
    line = training.line(METRICS | first | ends, 2)
    assert "  initial_eval_success 0.85 (0.64 to 0.95)  eval_success 0.85 (0.64 to 0.95)  reward 0.50" in line
    later = METRICS | {"iteration": 1}
    screen = Console(width=100)
    with screen.capture() as shown:
        screen.print(training.panel("title", [METRICS | ends, later], TrainConfig().budget, 100))
    assert "held-out win rate" in shown.get() and "0.85 (0.64 to 0.95)" in shown.get()


@pytest.mark.parametrize(
    ("origin", "reported"),
    [
        ("given", True),
        ("run.toml", True),
        ("preset of text adventures", False),
        ("checkpoint runs/a", False),
        ("runs/a/settings.json", False),
    ],
)
def test_a_context_beyond_the_models_length_is_reported_if_the_user_gave_it(origin: str, reported: bool) -> None:
    agent = SimpleNamespace(model=SimpleNamespace(context=128))
    trainer: Any = SimpleNamespace(config=TrainConfig.from_flat({"context": 1024}), agent=agent, notes=[])
    assert bool(training.notes(trainer, {"context": origin})) == reported
