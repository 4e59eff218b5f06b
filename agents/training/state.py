"""Saves and restores the checkpoints of a training run."""

from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from agents.model.finite_check import check_finite
from agents.play.metrics import RECENT
from agents.storage.checkpoint import load_tensors, loading_tensors, trained_tensors, write_agent
from agents.storage.checkpoint_files import BEST, INITIAL, TRAINING, WEIGHTS
from agents.storage.resume_check import read_training
from agents.storage.run_folder import ProcessesError
from agents.storage.tensor_files import ShardFile, split_sharded
from agents.training.held_out import Best
from agents.training.processes import gather, in_all_processes, in_main_process, shared_folder
from agents.training.updater import load_torch_optimizer, torch_optimizer_tensors
from agents.user_optimizer import one_line_errors
from games.game_hash import input_digests

if TYPE_CHECKING:
    from agents.training.trainer import Trainer


def state_of(trainer: "Trainer") -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the state of a run as a tuple (JSON data, tensors). All processes must call this function."""
    optimizer = trainer.updater.optimizer
    with one_line_errors(optimizer):
        optimizer_state = optimizer.state_dict()
    process_state = {"next_episode": trainer.runner.next_episode, "continuations": trainer.runner.continuations}
    state = {
        "iteration": trainer.iteration,
        "rollouts": trainer.rollouts,
        "env_steps": trainer.env_steps,
        "seconds": trainer.seconds,
        "processes": gather(process_state),
        "recent": list(trainer.recent),
        "level_schedule": trainer.schedule.state_dict(),
        "optimizer": optimizer_state,
        "input_files": input_digests(trainer.schedule.specs),
    }
    if trainer.held_out and trainer.held_out.best:
        state["best"] = trainer.held_out.best._asdict()
    random_states = {"torch_rng": torch.stack(gather(torch.get_rng_state()))}
    return state, torch_optimizer_tensors(trainer.updater.torch_optimizer) | random_states


def load_state(trainer: "Trainer", folder: Path) -> None:
    """Load the state and the weights of a checkpoint.

    Raise `AgentError` if the checkpoint is damaged or does not fit the run.
    """
    state, weights, tensors = read_training(folder, trainer.config)
    next_episode = _next_episode(trainer, [process.next_episode for process in state.processes], folder)
    rank = trainer.accelerator.process_index
    load_tensors(trainer.updater.model, weights, folder)  # the trunk must not be gathered
    with loading_tensors(folder / TRAINING):
        random_states = tensors.pop("torch_rng")[:]
        if rank < len(random_states):
            torch.set_rng_state(random_states[rank].clone())  # torch would read the whole storage of a view
        else:
            torch.manual_seed(trainer.runner.seed + state.iteration)
        load_torch_optimizer(trainer.updater.torch_optimizer, tensors)
    trainer.iteration = trainer.saved = state.iteration
    trainer.rollouts = state.iteration * len(state.processes) if state.rollouts is None else state.rollouts
    trainer.env_steps, trainer.seconds = state.env_steps, state.seconds
    continuations = state.processes[rank].continuations if rank < len(state.processes) else {}
    trainer.runner.next_episode = next_episode
    trainer.runner.continuations = {slot: dict(continuation) for slot, continuation in continuations.items()}
    trainer.recent = deque(state.recent, maxlen=RECENT)
    trainer.schedule.load_state_dict(dict(state.level_schedule))
    if trainer.held_out:  # a newer checkpoint, which another process found damaged, may have been loaded before
        trainer.held_out.best = Best(state.best.iteration, state.best.value) if state.best else None
    with one_line_errors(trainer.updater.optimizer):
        trainer.updater.optimizer.load_state_dict(state.optimizer)


def _next_episode(trainer: "Trainer", numbers: list[int], folder: Path) -> int:
    """Return this process's next episode number. `numbers` holds the saved number of each process."""
    processes: int = trainer.accelerator.num_processes
    rank: int = trainer.accelerator.process_index
    if len(numbers) == processes:
        return numbers[rank]
    size = trainer.config.rollout.group_size
    quotient, remainder = divmod(sum(numbers), processes)
    if size > 1 and (remainder or quotient % size):
        raise ProcessesError(
            f"{folder} was saved by {len(numbers)} processes after {sum(numbers)} episodes, which {processes} "
            f"processes cannot continue in groups of {size}; resume with {len(numbers)} processes"
        )
    return quotient + (rank < remainder)  # episode i of process r of n has the number i * n + r


def save_policy(
    trainer: "Trainer",
    folder: Path,
    *,
    trained_on: Sequence[str],
    training: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint of the current policy. All processes must call this function.

    `state_of` returns (`state`, `training`).
    """
    accelerator, model = trainer.accelerator, trainer.updater.model
    whole_weights, weight_shards = split_sharded(trained_tensors(model))
    whole_training, training_shards = split_sharded(training or {})
    # weights are stored in the trunk's data type; the shards of a trained bfloat16 trunk are its float32 master weights
    shard_files = [
        ShardFile(WEIGHTS, weight_shards, getattr(torch, trainer.model_config.dtype)),
        ShardFile(TRAINING, training_shards),
    ]

    def check() -> None:
        check_finite(whole_weights | whole_training)
        for file in shard_files:
            file.check()

    in_all_processes(check)
    with shared_folder(folder, accelerator) as work:
        hashes = in_all_processes(lambda: {file.name: file.write(work) for file in shard_files if file.tensors})
        shards = {name: digest for process_hashes in gather(hashes) for name, digest in process_hashes.items()}
        in_main_process(
            accelerator,
            lambda: write_agent(
                work,
                model,
                trainer.agent.tokenizer,
                trainer.model_config,
                _description(trainer, trained_on),
                weights=whole_weights,
                training=None if training is None else whole_training,
                state=state,
                shard_hashes=shards,
            ),
        )


def _description(trainer: "Trainer", trained_on: Sequence[str]) -> dict[str, Any]:
    returns = trainer.agent.prompt.returns
    return {
        "name": trainer.config.run.optimizer,
        "prompt": trainer.agent.prompt.name,
        "mode": trainer.agent.mode,
        "context": trainer.agent.context,
        **({} if returns is None else {"return_text": returns.position, "wanted_return": returns.target}),
        "guide_beta": trainer.agent.guide_beta,
        "made_by": trainer.config.model_dump(),
        "trained_on": list(trained_on),
    }


def save_checkpoint(trainer: "Trainer", state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write a checkpoint from the result of `state_of`, and delete old checkpoints.

    All processes must call this function.
    """
    folder = trainer.folder.checkpoint(trainer.iteration)
    in_main_process(trainer.accelerator, trainer.folder.sync)
    save_policy(trainer, folder, trained_on=trainer.trained_on, training=tensors, state=state)
    in_main_process(trainer.accelerator, trainer.folder.prune)


def save_initial(trainer: "Trainer", trained_on: Sequence[str]) -> None:
    """Unless already saved, save the initial policy. All processes must call this function."""
    folder = trainer.folder.path / INITIAL
    if any(gather(trainer.accelerator.is_main_process and not folder.exists())):
        save_policy(trainer, folder, trained_on=trained_on)


def is_best(trainer: "Trainer") -> bool:
    """Return whether the current policy has the best evaluation so far."""
    best = trainer.held_out and trainer.held_out.best
    return bool(best and best.iteration == trainer.iteration)


def save_best(trainer: "Trainer") -> None:
    """If `is_best(trainer)`, save the current policy. All processes must call this function."""
    if is_best(trainer):
        save_policy(trainer, trainer.folder.path / BEST, trained_on=trainer.trained_on)
