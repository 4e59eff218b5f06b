"""Train and measure a grid of runs, each in its own folder."""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Any

import games
from agents.config import TrainConfig
from agents.protocol import AgentError, DivergenceError
from agents.storage.checkpoint_files import checkpoints, newest
from agents.storage.resume_check import changed_input, excess_iterations
from agents.storage.run_folder import METRICS, SETTINGS, changed_setting, read_config, read_metrics
from agents.threads import threads_per_process
from agents.training import presets
from agents.training.optimizer_check import check_optimizer
from agents.user_optimizer import build_optimizer
from experiments.compare.measure import Measures, cached_measures, measure_run
from experiments.compare.runs import GridRun
from games.cluster_pool import open_pool
from games.files import exclusive
from games.worker_pool import available_cpus, note

CURVES = (  # metrics whose value at every iteration is stored, in addition to the shares of strategies
    "episodes", "env_steps", "seconds", "success", "recent_success", "success_with_expert", "level",
    "agreement", "kept", "reward", "normalized_score", "steps", "errors", "bonus_share", "turn_entropy", "value",
    "q_value", "advantage_abs", "entropy", "kl_ref",
)  # fmt: skip

REQUIRED_METRICS = ("iteration", "episodes", "env_steps", "seconds")  # in every line of `metrics.jsonl`
# Metrics of the episodes without an expert. Their curves contain None as long as an expert is in every episode.
AGENT_METRICS = frozenset({"success", "recent_success"})


def check(runs: Iterable[GridRun], common: Mapping[str, Any], tests: str = "") -> dict[GridRun, TrainConfig]:
    """Check the settings of all runs. Return a dict: run -> configuration. `tests` names the test games."""
    if tests:
        games.resolve(tests)
    configs: dict[GridRun, TrainConfig] = {}
    for run in runs:
        layer = presets.Layer(presets.GIVEN, run.explicit(common))
        config = configs[run] = presets.from_layers(presets.with_presets([layer]))
        for game in filter(None, (config.run.game, config.evaluation.eval_game)):
            games.resolve(game)
        check_optimizer(build_optimizer(config.run.optimizer, config.optimizer), config)
    return configs


def run_grid(
    configs: Mapping[GridRun, TrainConfig],
    root: Path,
    *,
    episodes: int,
    tests: str = "",
    workers: int | None = None,
    cluster: str | None = None,
    on_run: Callable[[dict[str, Any]], None],
    on_progress: Callable[[int, int, int], None] = lambda runs, done, total: None,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Train and measure every run. Finished runs are skipped, and interrupted runs are resumed.

    Return two lists of dicts: one result per finished run, and one error per diverged run.

    Args:
        configs: the result of `check`.
        root: the folder of all run folders.
        episodes, tests: arguments of `measure_run`.
        cluster: the address of a Ray cluster.
        on_run: called with the row of each finished run.
        on_progress: called every second with the numbers of finished runs, finished iterations and all iterations.

    Raises:
        AgentError: a folder in `root` holds a different run.
        DivergenceError: all runs diverged.
    """
    errors: dict[GridRun, DivergenceError] = {}
    rows: dict[GridRun, dict[str, Any]] = {}
    for run, config in configs.items():
        folder = root / run.name
        if not (folder / SETTINGS).is_file():
            continue
        stored_checkpoints = checkpoints(folder)
        finished = int(stored_checkpoints[-1].name) if stored_checkpoints else 0
        if changed := changed_setting(folder, config) or excess_iterations(folder, finished, config.budget):
            raise AgentError(f"{changed}; give the same settings, or another --out")
        if changed := changed_input(folder, finished, games.resolve(config.run.game)):
            raise AgentError(f"{changed}; restore them, or give another --out")
        current = read_config(folder) == config
        if current and (measures := cached_measures(folder, episodes=episodes, tests=tests)):
            rows[run] = _row(run, config, folder, measures)
    for row in rows.values():
        on_run(row)
    missing = [run for run in configs if run not in rows]
    if missing:
        workers = workers or (None if cluster else 1)
        threads = threads_per_process(workers or available_cpus())
        with open_pool(workers, cluster, root, cpus=threads, gpus=True) as pool:
            arguments = root, episodes, tests, threads, pool.restarts
            jobs = {pool.submit(_train, run, configs[run], *arguments): run for run in missing}
            for job in _as_completed(
                jobs, lambda: on_progress(len(rows), *_count_iterations(configs, missing, root, rows))
            ):
                try:
                    row = rows[jobs[job]] = job.result()
                except DivergenceError as error:
                    errors[jobs[job]] = error
                else:
                    on_run(row)
    if not rows:
        raise next(iter(errors.values()))
    diverged = [{**run.to_json(), "error": str(errors[run])} for run in configs if run in errors]
    return [rows[run] for run in configs if run in rows], diverged


def _as_completed(jobs: Iterable[Future[Any]], every_second: Callable[[], None]) -> Iterator[Future[Any]]:
    pending = set(jobs)
    while pending:
        finished, pending = wait(pending, timeout=1.0, return_when=FIRST_COMPLETED)
        yield from finished
        every_second()


def _count_iterations(
    configs: Mapping[GridRun, TrainConfig], runs: Sequence[GridRun], root: Path, finished: Container[GridRun]
) -> tuple[int, int]:
    total = {run: configs[run].budget.iterations for run in runs}
    completed = 0
    for run in runs:
        metrics_file = root / run.name / METRICS
        lines = metrics_file.read_bytes().count(b"\n") if metrics_file.is_file() else 0
        completed += total[run] if run in finished else min(lines, total[run])  # an earlier run may have been longer
    return completed, sum(total.values())


def _train(
    run: GridRun, config: TrainConfig, root: Path, episodes: int, tests: str, threads: int, wait_for_lock: bool
) -> dict[str, Any]:
    folder = root / run.name
    if wait_for_lock:  # a cluster starts a run again if its process was lost: that process may still hold the lock
        with exclusive(folder, wait=True):
            pass
    train_run(config, folder, threads)
    with exclusive(folder):
        return _row(run, config, folder, measure_run(folder, config, episodes=episodes, tests=tests))


def train_run(config: TrainConfig, folder: Path, threads: int, on_rollout: Callable[[], None] = lambda: None) -> None:
    """Start or resume a run. `on_rollout` is called after each rollout."""
    import torch

    from agents.training.factory import make_trainer

    torch.set_num_threads(threads)
    trainer = make_trainer(config, folder, resume=(folder / SETTINGS).is_file())
    for line in trainer.notes:
        note(f"{folder.name}: {line}")
    for _ in trainer.run():
        on_rollout()


def _row(run: GridRun, config: TrainConfig, folder: Path, measures: Measures) -> dict[str, Any]:
    lines, checkpoint = read_metrics(folder), newest(folder)
    if len(lines) != int(checkpoint.name):
        raise AgentError(f"{folder} is damaged: it has {len(lines)} lines of metrics, expected {int(checkpoint.name)}")
    missing = [name for name in REQUIRED_METRICS if any(line.get(name) is None for line in lines)]
    if missing:
        raise AgentError(f"{folder} is damaged: a line of its metrics has no {missing[0]}")
    names = AGENT_METRICS.union(*lines)
    shares = tuple(name for name in lines[0] if name.startswith("share_"))
    return {
        **run.to_json(),
        "settings": config.model_dump(),
        "curves": {name: [rounded(line.get(name)) for line in lines] for name in CURVES + shares if name in names},
        **measures,
    }


def rounded(value: float | None, digits: int = 6) -> float | None:
    """Round a float to `digits` significant digits. Return None and integers unchanged."""
    return value if value is None or isinstance(value, int) else float(f"{value:.{digits}g}")
