"""Builds a training run from its configuration.

Building a component may draw random numbers, so the order of construction affects the results of a run.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

import games
from actde import Optimizer, optimizer_class
from agents.completion_rewards import load_models
from agents.config import ModelConfig, TrainConfig
from agents.imports import load_imports
from agents.language_model.agent import LanguageModelAgent
from agents.model.actor_critic import ActorCritic
from agents.model.build import assemble
from agents.play.metrics import strategies_of
from agents.play.runner import EpisodeRunner
from agents.protocol import AgentError
from agents.storage.checkpoint import INITIAL
from agents.storage.run_folder import RunFolder
from agents.training import trackers
from agents.training.bfloat16 import SLOW_BFLOAT16, cpu_is_fast_in_bfloat16
from agents.training.dagger import DAggerAgent, Expert
from agents.training.data_sources import check_sources
from agents.training.game_words import COMMANDS_ADVICE, open_words, vocabulary_of
from agents.training.held_out import HeldOutGames
from agents.training.hindsight import prompt_of, with_return_words
from agents.training.level_schedule import LevelSchedule
from agents.training.model_setup import place, prepare, reference_copy
from agents.training.optimizer_check import check_optimizer
from agents.training.probe import Probe
from agents.training.processes import connected, gather, in_all_processes
from agents.training.recorded_play import open_recorded_play
from agents.training.reference import ReferencePolicy
from agents.training.replay_buffer import open_replay_buffer
from agents.training.state import save_best
from agents.training.trackers import check_installed, make_trackers
from agents.training.trainer import Trainer
from agents.training.updater import Updater
from agents.training.warm_start import load_weights
from agents.user_optimizer import build_optimizer
from games.game_hash import game_hash
from games.textworld.generation.reserved_seeds import reject_reserved_seeds


def make_trainer(config: TrainConfig, out: Path, *, resume: bool = False) -> Trainer:
    """Build the trainer of a new run in the folder `out`. With `resume`, the trainer continues that folder's run.

    Raises:
        ConfigError: a setting does not fit the optimizer.
        GameError: the game is unknown or reserved for evaluation.
        AgentError: the folder or the checkpoint of `init` cannot be used, or the run does not fit into memory.

    Nothing is written if one of these errors is raised. An error of one process is raised in all processes of a run.
    """
    has_gpu = torch.accelerator.is_available()  # processes on a CPU work together only if `cpu` is True
    with connected():
        accelerator = Accelerator(cpu=not has_gpu, log_with=make_trackers(config, out) or None)
    optimizer, schedule, held_out, folder = in_all_processes(lambda: _prepare(config, out, resume=resume))
    is_main, resumed = accelerator.is_main_process, out if resume else None
    words = in_all_processes(lambda: open_words(schedule.specs, config, resumed) if is_main else [])
    words = gather(words)[0]  # a game's texts may differ between processes
    parts = optimizer, schedule, held_out, folder, words, accelerator
    trainer, earlier_games = in_all_processes(lambda: _build(config, *parts))
    if len(set(gather(trainer.updater.model.gathered_by_layer))) > 1:
        raise AgentError("the trunk fits onto the devices of some processes only: use --sharded-play layers")
    trainer.start(resume=resume, initial_games=earlier_games)
    with _closing_on_failure(trainer):
        if config.rollout.buffer_episodes:
            open_replay_buffer(trainer)
        if config.rollout.data:
            open_recorded_play(trainer)
    if resume:  # a process that was killed has perhaps saved only the newest checkpoint
        save_best(trainer)
    return trainer


@contextmanager
def _closing_on_failure(trainer: Trainer) -> Iterator[None]:
    """If the block raises an error, close the started trainer and, if the run is new, empty its folder."""
    try:
        yield
    except BaseException:
        trainer.runner.close()
        trackers.finish(trainer.accelerator, trainer.folder.path)
        if trainer.accelerator.is_main_process and not trainer.iteration:
            trainer.folder.discard()
        trainer.folder.unlock()
        raise


def _prepare(
    config: TrainConfig, out: Path, *, resume: bool
) -> tuple[Optimizer, LevelSchedule, list[games.GameSpec], RunFolder]:
    """Build the parts of a run that need no model: a tuple (optimizer, level schedule, held-out games, run folder)."""
    check_installed(config)
    load_imports(config.run.imports)
    optimizer = build_optimizer(config.run.optimizer, config.optimizer)
    check_optimizer(optimizer, config)
    specs, held_out = (_games(config, game) for game in (config.run.game, config.evaluation.eval_game))
    if not resume:  # a resumed run has its own copy
        check_sources(config, specs)
    schedule = LevelSchedule(specs, promote=config.budget.promote, episodes=config.budget.promote_episodes)
    return optimizer, schedule, held_out, RunFolder(out, config, resume=resume)


def _build(
    config: TrainConfig,
    optimizer: Optimizer,
    schedule: LevelSchedule,
    held_out: Sequence[games.GameSpec],
    folder: RunFolder,
    words: Sequence[str],
    accelerator: Accelerator,
) -> tuple[Trainer, list[str]]:
    """Return a tuple: the trainer, and the hashes of the games on which its initial weights were trained.

    Args:
        held_out: the games on which the model is evaluated.
        words: the result of `open_words`.
    """
    torch.manual_seed(config.run.seed)
    specs = schedule.specs
    model_config = config.model if optimizer.trains_q else config.model.replace(q_heads=0)
    model, tokenizer = assemble(model_config, *with_return_words(optimizer, vocabulary_of(specs), words))
    plugin = place(model, accelerator)
    notes, earlier_games = _warm_start(config, folder, model, tokenizer, model_config)
    reference = reference_copy(config, model, optimizer, sharded=plugin is not None)
    torch_optimizer = prepare(config, model, reference, accelerator, plugin)

    seed = _process_seed(config.run.seed, accelerator)
    agent, dagger_agent = _agents(config, model, tokenizer, optimizer, seed)
    updater = Updater(model, torch_optimizer, optimizer, config.update, accelerator, reference)
    trainer = Trainer(
        config=config,
        model_config=model_config,
        folder=folder,
        accelerator=accelerator,
        updater=updater,
        probe=_probe(config, agent, updater.reference, seed),
        held_out=_held_out(config, held_out, agent, accelerator),
        tokenizer=tokenizer,
        agent=agent,
        dagger_agent=dagger_agent,
        runner=_runner(config, schedule, seed, with_expert=dagger_agent is not None),
        schedule=schedule,
        strategies=strategies_of(specs[0]),
        trained_on=sorted({*earlier_games, *map(game_hash, specs)}),
        notes=[*notes, *_known_games(specs, held_out), *_slow_dtype(model, accelerator)],
    )
    return trainer, earlier_games


def _games(config: TrainConfig, game: str) -> list[games.GameSpec]:
    """Return the games that `game` names, or [] if `game` is empty. Load the reward models of the games."""
    specs = games.resolve(game, step_seconds=config.rollout.step_seconds) if game else []
    reject_reserved_seeds(specs)
    load_models(specs)
    return specs


def _warm_start(
    config: TrainConfig, folder: RunFolder, model: ActorCritic, tokenizer: object, model_config: ModelConfig
) -> tuple[list[str], list[str]]:
    """Load the weights of `init` into the model.

    Return a tuple: notes for the user, and the hashes of the games on which these weights were trained. Both are []
    without `init`.
    """
    if not config.run.init:
        return [], []
    copied = folder.path / INITIAL  # a resumed run loads its own copy
    if copied.exists():
        return load_weights(model, tokenizer, model_config, copied)
    by_q = optimizer_class(config.run.optimizer).baseline_is_q and not config.optimizer.recentre_q
    source, reset_q = Path(config.run.init), config.run.reset_q
    return load_weights(model, tokenizer, model_config, source, reset_q=reset_q, q_is_baseline=by_q)


def _agents(
    config: TrainConfig, model: ActorCritic, tokenizer: object, optimizer: Optimizer, seed: int
) -> tuple[LanguageModelAgent, DAggerAgent | None]:
    """Return a tuple: the agent that learns, and the agent that plays with an expert, or None without an expert."""
    agent = LanguageModelAgent(
        model,
        tokenizer,
        name=config.run.optimizer,
        prompt=prompt_of(config, tokenizer, optimizer),
        seed=seed,
        mode=config.rollout.mode,
        context=config.rollout.context,
        gamma=config.optimizer.gamma,
        guide_beta=config.rollout.guide_beta,
        record=True,
        share_prefixes=config.update.prefix_sharing == "auto",
        random_share=config.rollout.random_share,
    )
    with_expert = optimizer.labels == "expert" and config.rollout.own_episodes > 0
    expert = Expert(prefer_policy=config.imitation.expert == "policy")
    return agent, DAggerAgent(agent, expert, greedy=config.imitation.greedy_share) if with_expert else None


def _probe(config: TrainConfig, agent: LanguageModelAgent, reference: ReferencePolicy, seed: int) -> Probe | None:
    if not (prompts := config.probe.probe_prompts):
        return None
    return Probe(config.run.game, prompts, config.probe.judge, agent=agent, reference=reference, seed=seed)


def _held_out(
    config: TrainConfig, specs: Sequence[games.GameSpec], agent: LanguageModelAgent, accelerator: Accelerator
) -> HeldOutGames | None:
    if not specs:
        return None
    rank, processes = accelerator.process_index, accelerator.num_processes
    return HeldOutGames(specs, config, agent=agent, rank=rank, processes=processes)


def _known_games(specs: Sequence[games.GameSpec], held_out: Sequence[games.GameSpec]) -> list[str]:
    """Return a list with a note to the user if the model is trained on games of the evaluation, or else []."""
    known = set(map(game_hash, specs)).intersection(map(game_hash, held_out)) if held_out else set()
    return [f"the model is trained on {len(known)} of the {len(held_out)} games of --eval-game"] if known else []


def _slow_dtype(model: ActorCritic, accelerator: Accelerator) -> list[str]:
    """Return a list with a note to the user if the model computes slowly in its data type, or else []."""
    is_slow = model.dtype == torch.bfloat16 and accelerator.device.type == "cpu" and not cpu_is_fast_in_bfloat16()
    return [SLOW_BFLOAT16] if is_slow else []


def _runner(config: TrainConfig, schedule: LevelSchedule, seed: int, *, with_expert: bool) -> EpisodeRunner:
    return EpisodeRunner(
        schedule.in_play(),
        seed=seed,
        parallel=config.rollout.parallel,
        max_turns=config.rollout.max_turns,
        shaping=config.reward.shaping(),
        infos=("policy_commands",) if with_expert and config.imitation.needs_policy else (),
        group_size=config.rollout.group_size,
        advice=COMMANDS_ADVICE,
    )


def _process_seed(seed: int, accelerator: Accelerator) -> int:
    """Return the run's seed in the main process, and a seed derived from it in every other process."""
    if accelerator.process_index == 0:
        return seed
    return int(np.random.SeedSequence([seed, accelerator.process_index]).generate_state(1)[0])
