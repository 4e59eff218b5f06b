"""Run the comparison of learners: `python -m experiments.offline --out docs/offline`."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typing_extensions import TypedDict

import games
from agents.config import TrainConfig
from agents.play.evaluate import evaluate
from agents.protocol import AgentError, DivergenceError
from agents.registry import make_agent
from agents.storage.run_folder import SETTINGS, changed_setting, read_metrics
from agents.training import presets
from experiments import program
from experiments.compare.grid import rounded
from experiments.compare.measure import measure_run
from experiments.compare.results import number_at
from experiments.offline.contrasts import SEEDS
from experiments.offline.report import EPISODES, report
from experiments.offline.tasks import LEARNERS, PRIOR, TASKS, explicit_settings
from experiments.tables import json_text
from games.files import atomic_write, exclusive
from games.untrusted_files import read_json

RESULTS, REPORT = "results.json", "README.md"
MEASURES = {  # the place of each number in the measures of a run (`experiments.compare.measure`)
    "won": ("evaluation", "sampled", "success_rate", "value"),
    "won_greedy": ("evaluation", "greedy", "success_rate", "value"),
    "score": ("evaluation", "sampled", "normalized_score", "value"),
    "reward": ("evaluation", "sampled", "texts", "reward", "value"),
    "bonus": ("evaluation", "sampled", "bonus_share", "value"),
    "wanting_0": ("wanting_0", "normalized_score", "value"),
    "kl": ("collapse", "kl_initial"),
    "text_kl": ("collapse", "texts", "kl"),
    "entropy": ("collapse", "entropy"),
}


class Results(TypedDict):
    """The content of `results.json`."""

    settings: dict[str, dict[str, Any]]  # by "TASK, LEARNER"
    cells: dict[str, dict[str, dict[str, Any]]]  # the numbers of a run, by "TASK, LEARNER" and by seed


def current_results(results: Results) -> Results:
    """Return only the results whose training settings are unchanged."""
    settings = {
        f"{task}, {learner}": {key: value for key, value in run_settings.items() if key != "seed"}
        for task in TASKS
        for learner in LEARNERS
        if learner not in TASKS[task].without
        for run_settings in [explicit_settings(TASKS[task], learner, 0, Path(PRIOR))]
    }
    unchanged = {name for name, run_settings in settings.items() if results["settings"].get(name) == run_settings}
    # without the results of tasks whose settings of `PRIOR` have changed
    valid = {name for name in unchanged if f"{name.partition(', ')[0]}, {PRIOR}" in unchanged}
    return {"settings": settings, "cells": {name: cells for name, cells in results["cells"].items() if name in valid}}


def complete_runs(
    results: Results, task: str, seed: int, root: Path, on_run: Callable[[str, dict[str, Any]], None]
) -> None:
    """Train and evaluate each learner that has no result for `task` and `seed` yet."""
    cells = results["cells"]
    keys = {learner: f"{task}, {learner}" for learner in LEARNERS if learner not in TASKS[task].without}
    missing = [learner for learner, name in keys.items() if str(seed) not in cells.get(name, {})]
    for learner in dict.fromkeys([PRIOR, *missing]) if missing else ():
        numbers = train_and_measure(task, learner, seed, root)
        if learner in missing:
            cells.setdefault(keys[learner], {})[str(seed)] = numbers
            on_run(f"{keys[learner]}, seed {seed}", numbers)


def train_and_measure(task: str, learner: str, seed: int, root: Path) -> dict[str, Any]:
    """Train and evaluate `learner`. Return the measures, or {"error": message} if training diverged."""
    from agents.training.factory import make_trainer

    folder, prior = (root / task / f"{name.replace(' ', '-')}-seed{seed}" for name in (learner, PRIOR))
    config = presets.resolve(explicit_settings(TASKS[task], learner, seed, prior))
    started = (folder / SETTINGS).is_file()
    if started and (changed := changed_setting(folder, config)):
        raise AgentError(f"{changed}; give another --runs")
    try:
        for _ in make_trainer(config, folder, resume=started).run():
            pass
    except DivergenceError as error:
        if learner == PRIOR:
            raise
        return {"error": str(error)}
    with exclusive(folder):
        measures = measure_run(folder, config, episodes=EPISODES, tests=TASKS[task].tests)
        if learner == "decision":
            measures = {**measures, "wanting_0": evaluate_with_target_0(folder, config, TASKS[task].tests)}
    numbers = {
        name: rounded(value, 4) for name, keys in MEASURES.items() if (value := number_at(*keys)(measures)) is not None
    }
    return numbers | {"episodes": EPISODES, "minutes": round(read_metrics(folder)[-1]["seconds"] / 60, 1)}


def evaluate_with_target_0(folder: Path, config: TrainConfig, tests: str) -> dict[str, Any]:
    """Evaluate a return-conditioned agent with a target return of 0."""
    agent = make_agent(str(folder), seed=20_000 + config.run.seed, wanted_return=0.0)
    return evaluate(
        agent,
        games.resolve(tests or config.run.game),
        game=tests,
        episodes=EPISODES,
        seed=20_000 + config.run.seed,
        max_turns=config.rollout.max_turns,
    ).to_json()


def main(
    out: Annotated[Path, typer.Option(help="folder of README.md and results.json")],
    runs: Annotated[Path, typer.Option(help="folder of the runs")] = Path("runs/offline"),
    tasks: Annotated[str, typer.Option(help="tasks, joined by commas; none only writes the report")] = ",".join(TASKS),
    seeds: Annotated[str, typer.Option(help="seeds, joined by commas")] = ",".join(map(str, SEEDS)),
) -> None:
    """Complete the missing runs of the tasks, and write the report."""
    task_names = [] if tasks == "none" else tasks.split(",")
    if unknown := [name for name in task_names if name not in TASKS]:
        raise AgentError(f"--tasks expects some of {', '.join(TASKS)}, or none, got {unknown[0]!r}")
    seed_names = seeds.split(",")
    if unknown := [seed for seed in seed_names if seed not in map(str, SEEDS)]:
        raise AgentError(f"--seeds expects some of {', '.join(map(str, SEEDS))}, got {unknown[0]!r}")
    for option, values in (("--tasks", task_names), ("--seeds", seed_names)):
        if repeated := [value for value in values if values.count(value) > 1]:
            raise AgentError(f"{option} gives {repeated[0]} twice: leave out one")
    with exclusive(out, RESULTS, REPORT):
        path = out / RESULTS
        empty = Results(settings={}, cells={})
        results = current_results(read_json(path, Results, error=AgentError) if path.exists() else empty)

        def write(name: str, numbers: dict[str, Any]) -> None:
            atomic_write(path, json_text(results))
            typer.echo(f"{name}: {numbers}")

        for name in task_names:
            for seed in map(int, seed_names):
                complete_runs(results, name, seed, runs, write)
        atomic_write(path, json_text(results))
        atomic_write(out / REPORT, report(results["cells"]))


if __name__ == "__main__":
    program.run(main)
