"""Saves and restores the state of a training run, and saves its policy, in the form of checkpoints."""

from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from agents.play.metrics import RECENT
from agents.storage.checkpoint import BEST, TRAINING, load_tensors, loading_tensors, save_agent
from agents.storage.run_folder import ProcessesError
from agents.storage.training_state import read_training
from agents.training.held_out import Best
from agents.training.processes import gather
from agents.training.updater import load_torch_optimizer, torch_optimizer_tensors
from agents.user_optimizer import one_line_errors

if TYPE_CHECKING:
    from agents.training.trainer import Trainer


def state_of(trainer: "Trainer") -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return a tuple: the content of `state.json`, and the tensors of the torch optimizer and of the random generators.

    All processes must call this function. Each has its own episodes and its own random generator.
    """
    optimizer = trainer.updater.optimizer
    with one_line_errors(optimizer):
        optimizer_state = optimizer.state_dict()
    own = {"next_episode": trainer.runner.next_episode, "continuations": trainer.runner.continuations}
    state = {
        "iteration": trainer.iteration,
        "env_steps": trainer.env_steps,
        "seconds": trainer.seconds,
        "processes": gather(own),
        "recent": list(trainer.recent),
        "level_schedule": trainer.schedule.state_dict(),
        "optimizer": optimizer_state,
    }
    if trainer.held_out and trainer.held_out.best:
        state["best"] = trainer.held_out.best._asdict()
    random_states = {"torch_rng": torch.stack(gather(torch.get_rng_state()))}
    return state, torch_optimizer_tensors(trainer.updater.torch_optimizer) | random_states


def load_state(trainer: "Trainer", folder: Path) -> None:
    """Load the state and the weights of a checkpoint.

    Raises:
        ProcessesError: the checkpoint was saved by another number of processes.
        AgentError: a file is missing or damaged, or belongs to another run or iteration.
    """
    state, weights, tensors = read_training(folder, trainer.config)
    rank, processes = trainer.accelerator.process_index, trainer.accelerator.num_processes
    if (count := len(state.processes)) != processes:
        raise ProcessesError(
            f"{folder} was saved by {count} processes, not {processes}; resume with torchrun --nproc-per-node {count}"
        )
    with loading_tensors(folder / TRAINING):
        torch.set_rng_state(tensors.pop("torch_rng")[rank].clone())  # torch would read the whole storage of a view
        load_torch_optimizer(trainer.updater.torch_optimizer, tensors)
    load_tensors(trainer.updater.model, weights, folder)
    trainer.iteration = trainer.saved = state.iteration
    trainer.env_steps, trainer.seconds = state.env_steps, state.seconds
    own = state.processes[rank]
    trainer.runner.next_episode = own.next_episode
    trainer.runner.continuations = {slot: dict(each) for slot, each in own.continuations.items()}
    trainer.recent = deque(state.recent, maxlen=RECENT)
    trainer.schedule.load_state_dict(dict(state.level_schedule))
    if trainer.held_out and state.best:
        trainer.held_out.best = Best(state.best.iteration, state.best.value)
    with one_line_errors(trainer.updater.optimizer):
        trainer.updater.optimizer.load_state_dict(state.optimizer)


def save_policy(trainer: "Trainer", folder: Path, *, trained_on: list[str], **training: Any) -> None:
    """Write a checkpoint of the current policy. `training` holds further keyword arguments of `save_agent`."""
    description = {
        "name": trainer.config.run.optimizer,
        "prompt": trainer.agent.prompt.name,
        "mode": trainer.agent.mode,
        "context": trainer.agent.context,
        "guide_beta": trainer.agent.guide_beta,
        "made_by": trainer.config.model_dump(),
        "trained_on": trained_on,
    }
    save_agent(folder, trainer.updater.model, trainer.tokenizer, trainer.model_config, description, **training)


def save_checkpoint(trainer: "Trainer", state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write the newest checkpoint with the results of `state_of`, and delete old ones. Save the best policy, too."""
    if trainer.accelerator.is_main_process:
        trainer.folder.sync()
        folder = trainer.folder.checkpoint(trainer.iteration)
        save_policy(trainer, folder, trained_on=trainer.trained_on, training=tensors, state=state)
        trainer.folder.prune()
        save_best(trainer)


def is_best(trainer: "Trainer") -> bool:
    """Return whether the current policy has the best evaluation so far."""
    best = trainer.held_out and trainer.held_out.best
    return bool(best and best.iteration == trainer.iteration)


def save_best(trainer: "Trainer") -> None:
    """Save the current policy in the run's folder `best` if it has the best evaluation so far."""
    if is_best(trainer) and trainer.accelerator.is_main_process:
        save_policy(trainer, trainer.folder.path / BEST, trained_on=trainer.trained_on)
