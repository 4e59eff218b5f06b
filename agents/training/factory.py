"""Builds a training run."""

from collections.abc import Sequence
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
from agents.protocol import AgentError
from agents.storage.checkpoint_files import INITIAL
from agents.storage.run_folder import RunFolder
from agents.training import trackers
from agents.training.bfloat16 import SLOW_BFLOAT16, cpu_is_fast_in_bfloat16
from agents.training.dagger import DAggerAgent, Expert
from agents.training.data_sources import check_sources
from agents.training.game_words import COMMANDS_ADVICE, texts_with_new_words, vocabulary_of
from agents.training.held_out import HeldOutGames
from agents.training.hindsight import prompt_of, with_return_words
from agents.training.level_schedule import LevelSchedule
from agents.training.model_setup import move_to_device, prepare, reference_copy
from agents.training.optimizer_check import check_optimizer
from agents.training.probe import Probe
from agents.training.processes import connected, gather, in_all_processes
from agents.training.recorded_play import open_recorded_play
from agents.training.replay_buffer import filled_buffer
from agents.training.rollout import make_runner
from agents.training.state import save_best
from agents.training.trackers import check_installed, make_trackers
from agents.training.trainer import Trainer
from agents.training.updater import Updater
from agents.training.warm_start import load_weights
from agents.user_optimizer import build_optimizer
from games.game_hash import game_hash
from games.textworld.generation.reserved_seeds import reject_reserved_seeds


def make_trainer(config: TrainConfig, out: Path, *, resume: bool = False) -> Trainer:
    """Build the trainer of the run in the folder `out`. With `resume`, continue the run.

    Raise `ConfigError`, `GameError` or `AgentError` if the run cannot start.
    """
    has_gpu = torch.accelerator.is_available()  # processes on a CPU work together only if `cpu` is True
    with connected():
        accelerator = Accelerator(cpu=not has_gpu, log_with=make_trackers(config, out) or None)
    optimizer, schedule, held_out, folder = in_all_processes(lambda: _prepare(config, out, resume=resume))
    is_main, resumed = accelerator.is_main_process, out if resume else None
    texts = in_all_processes(lambda: texts_with_new_words(schedule.specs, config, resumed) if is_main else [])
    words = gather(texts)[0]  # a game's texts may differ between processes
    arguments = optimizer, schedule, held_out, folder, words, accelerator
    trainer, earlier_games = in_all_processes(lambda: _build(config, *arguments))
    if len(set(gather(trainer.updater.model.gathered_by_layer))) > 1:
        raise AgentError("the trunk fits onto the devices of some processes only: use --sharded-play layers")
    trainer.start(resume=resume, initial_games=earlier_games)
    try:
        if config.rollout.buffer_episodes:
            trainer.sources.append(in_all_processes(lambda: filled_buffer(trainer)))
        if config.rollout.data:
            open_recorded_play(trainer)
    except BaseException:
        trainer.runner.close()
        trackers.finish(accelerator, folder.path)
        if is_main and not trainer.iteration:
            folder.discard()
        folder.unlock()
        raise
    if resume:  # a process that was killed has perhaps saved only the newest checkpoint
        save_best(trainer)
    return trainer


def _prepare(
    config: TrainConfig, out: Path, *, resume: bool
) -> tuple[Optimizer, LevelSchedule, list[games.GameSpec], RunFolder]:
    check_installed(config)
    load_imports(config.run.imports)
    optimizer = build_optimizer(config.run.optimizer, config.optimizer)
    check_optimizer(optimizer, config)
    specs, held_out = (_resolve_games(config, game) for game in (config.run.game, config.evaluation.eval_game))
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
    """Return a tuple (trainer, hashes of the initial weights' training games)."""
    torch.manual_seed(config.run.seed)  # from here, the order of construction affects the random numbers
    specs = schedule.specs
    model_config = config.model if optimizer.trains_q else config.model.replace(q_heads=0)
    model, tokenizer = assemble(model_config, *with_return_words(optimizer, vocabulary_of(specs), words))
    plugin = move_to_device(model, accelerator)
    notes, earlier_games = _warm_start(config, folder, model, tokenizer, model_config)
    reference = reference_copy(config, model, optimizer, sharded=plugin is not None)
    torch_optimizer = prepare(config, model, reference, accelerator, plugin)

    seed, rank = config.run.seed, accelerator.process_index
    if rank > 0:
        seed = int(np.random.SeedSequence([seed, rank]).generate_state(1)[0])
    agent, dagger_agent = _agents(config, model, tokenizer, optimizer, seed)
    updater = Updater(model, torch_optimizer, optimizer, config.update, accelerator, reference)
    trainer = Trainer(
        config=config,
        model_config=model_config,
        folder=folder,
        accelerator=accelerator,
        updater=updater,
        probe=Probe(config.run.game, prompts, config.probe.judge, agent=agent, reference=updater.reference, seed=seed)
        if (prompts := config.probe.probe_prompts)
        else None,
        held_out=HeldOutGames(held_out, config, agent=agent, rank=rank, processes=accelerator.num_processes)
        if held_out
        else None,
        agent=agent,
        dagger_agent=dagger_agent,
        runner=make_runner(
            config, schedule.in_play(), seed=seed, with_expert=dagger_agent is not None, advice=COMMANDS_ADVICE
        ),
        schedule=schedule,
        strategies=strategies_of(specs[0]),
        trained_on=sorted({*earlier_games, *map(game_hash, specs)}),
        notes=[*notes, *_warnings(specs, held_out, model, accelerator)],
    )
    return trainer, earlier_games


def _resolve_games(config: TrainConfig, game: str) -> list[games.GameSpec]:
    specs = games.resolve(game, step_seconds=config.rollout.step_seconds) if game else []
    reject_reserved_seeds(specs)
    load_models(specs)
    return specs


def _warm_start(
    config: TrainConfig, folder: RunFolder, model: ActorCritic, tokenizer: object, model_config: ModelConfig
) -> tuple[list[str], list[str]]:
    """Load the weights of `--init`. Return a tuple (notes, hashes of the weights' training games)."""
    if not config.run.init:
        return [], []
    initial = folder.path / INITIAL  # a resumed run loads its own copy
    if initial.exists():
        return load_weights(model, tokenizer, model_config, initial)
    q_is_baseline = optimizer_class(config.run.optimizer).baseline_is_q and not config.optimizer.recentre_q
    source, reset_q = Path(config.run.init), config.run.reset_q
    return load_weights(model, tokenizer, model_config, source, reset_q=reset_q, q_is_baseline=q_is_baseline)


def _agents(
    config: TrainConfig, model: ActorCritic, tokenizer: object, optimizer: Optimizer, seed: int
) -> tuple[LanguageModelAgent, DAggerAgent | None]:
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
    return agent, DAggerAgent(agent, expert, greedy_share=config.imitation.greedy_share) if with_expert else None


def _warnings(
    specs: Sequence[games.GameSpec], held_out: Sequence[games.GameSpec], model: ActorCritic, accelerator: Accelerator
) -> list[str]:
    overlap = {*map(game_hash, specs)} & {*map(game_hash, held_out)} if held_out else ()
    notes = [f"the model is trained on {len(overlap)} of the {len(held_out)} games of --eval-game"] if overlap else []
    is_slow = model.dtype == torch.bfloat16 and accelerator.device.type == "cpu" and not cpu_is_fast_in_bfloat16()
    return [*notes, SLOW_BFLOAT16] if is_slow else notes
