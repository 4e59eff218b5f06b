"""Builds a training run from its configuration.

Building a component may draw random numbers, so the order of construction affects the results of a run.
"""

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

import games
from actde import Optimizer
from actde.errors import ConfigError
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
from agents.text.prompt import prompt_format
from agents.training.bfloat16 import SLOW_BFLOAT16, cpu_is_fast_in_bfloat16
from agents.training.dagger import DAggerAgent, Expert
from agents.training.data_sources import check_sources
from agents.training.game_words import COMMANDS_ADVICE, open_words, vocabulary_of
from agents.training.held_out import HeldOutGames
from agents.training.level_schedule import LevelSchedule
from agents.training.memory_estimate import MemoryNeeds, available, check_memory
from agents.training.probe import Probe
from agents.training.processes import connected, gather, in_all_processes
from agents.training.recorded_play import open_recorded_play
from agents.training.reference import ReferencePolicy
from agents.training.trackers import check_installed, make_trackers
from agents.training.trainer import Trainer
from agents.training.updater import Updater, make_torch_optimizer
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
    trainer.start(resume=resume, initial_games=earlier_games)
    if config.rollout.data:
        open_recorded_play(trainer)
    return trainer


def _prepare(
    config: TrainConfig, out: Path, *, resume: bool
) -> tuple[Optimizer, LevelSchedule, list[games.GameSpec], RunFolder]:
    """Return the parts that need no model: a tuple (optimizer, level schedule, held-out games, run folder)."""
    check_installed(config)
    load_imports(config.run.imports)
    optimizer = build_optimizer(config.run.optimizer, config.optimizer)
    _check_optimizer(optimizer, config)
    if not resume:  # a resumed run has its own copy
        check_sources(config)
    specs, held_out = (_games(config, game) for game in (config.run.game, config.evaluation.eval_game))
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
    model, tokenizer = assemble(model_config, vocabulary_of(specs), words)
    model.to(accelerator.device)
    notes, earlier_games = _warm_start(config, folder, model, tokenizer, model_config)
    reference = _reference(config, model, optimizer)
    context = min(config.rollout.context or model.context, model.context)
    free = available(accelerator.device) // accelerator.num_processes
    check_memory(MemoryNeeds.of(model, config.update), config, context=context, free=free)
    if config.update.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    torch_optimizer = make_torch_optimizer(model, config.update)

    seed = _process_seed(config.run.seed, accelerator)
    with_expert = optimizer.labels == "expert" and config.rollout.own_episodes > 0
    agent, dagger_agent = _agents(config, model, tokenizer, seed, with_expert=with_expert)
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
        runner=_runner(config, schedule, seed, with_expert=with_expert),
        schedule=schedule,
        strategies=strategies_of(specs[0]),
        trained_on=sorted({*earlier_games, *map(game_hash, specs)}),
        notes=[*notes, *_known_games(specs, held_out), *_slow_dtype(model, accelerator)],
    )
    return trainer, earlier_games


def _games(config: TrainConfig, game: str) -> list[games.GameSpec]:
    """Return the games that `game` names, or [] if it is empty, and load the models of their rewards."""
    specs = games.resolve(game, step_seconds=config.rollout.step_seconds) if game else []
    reject_reserved_seeds(specs)
    load_models(specs)
    return specs


def _check_optimizer(optimizer: Optimizer, config: TrainConfig) -> None:
    """Raise an error if the optimizer needs a missing setting, or cannot work with a given setting."""
    if optimizer.trains_q and not config.model.q_heads:
        raise ConfigError(f"{config.run.optimizer} trains q: expected --q-heads 1 or 2, got 0")
    group_size, episodes = config.rollout.group_size, config.rollout.episodes
    if optimizer.needs_groups and (group_size < 2 or episodes % group_size):
        raise ConfigError(
            f"{config.run.optimizer} compares the episodes of a group: expected a --group-size above 1 that divides "
            f"--episodes {episodes}, got {group_size}"
        )
    sums_actions = optimizer.needs_expected_q or optimizer.needs_q_logprobs or config.optimizer.recentre_q
    if sums_actions and config.rollout.credit != "token":
        raise ConfigError(f"{config.run.optimizer} needs credit per token: expected --credit token, got command")
    if config.rollout.data and not optimizer.learns_off_policy:
        raise ConfigError(
            f"{config.run.optimizer} learns from its own play only: leave out --data, or use ilql, imitation or "
            "rejection"
        )
    _check_guidance(optimizer, config)
    expert_plays_all = optimizer.labels == "expert" and not config.imitation.model_plays
    if (config.budget.promote or config.budget.stop_success) and (expert_plays_all or not config.rollout.own_episodes):
        who, advice = "the expert plays every turn", "--beta below 1"
        if not config.rollout.own_episodes:
            who, advice = "the model does not play", "--data-share below 1"
        raise AgentError(f"--promote and --stop-success count the model's wins, but {who}; give {advice}")


def _check_guidance(optimizer: Optimizer, config: TrainConfig) -> None:
    """Raise an error if the policy is to be guided by a q that is not trained, or if the optimizer cannot allow it."""
    if not config.rollout.guide_beta:
        return
    name = config.run.optimizer
    if not optimizer.trains_q:
        raise ConfigError(f"--guide-beta needs q: give --train-q, because {name} trains none")
    if config.rollout.credit != "token":
        raise ConfigError(f"--guide-beta needs q of every token: expected --credit token, got {config.rollout.credit}")
    if config.update.lr > 0 and not optimizer.learns_off_policy:
        raise ConfigError(
            f"--guide-beta plays another policy than {name} trains: expected --lr 0, which freezes the policy, or an "
            "optimizer that learns off policy, such as ilql"
        )


def _warm_start(
    config: TrainConfig, folder: RunFolder, model: ActorCritic, tokenizer: object, model_config: ModelConfig
) -> tuple[list[str], list[str]]:
    """Load the weights of `init` into the model. Return the result of `load_weights`, or ([], []) without `init`."""
    if not config.run.init:
        return [], []
    copied = folder.path / INITIAL  # a resumed run loads its own copy
    return load_weights(model, tokenizer, model_config, copied if copied.exists() else Path(config.run.init))


def _reference(config: TrainConfig, model: ActorCritic, optimizer: Optimizer) -> ActorCritic | None:
    """Return a frozen copy of the initial policy, which shares `model`'s frozen parameters, or None if not needed."""
    adapter_is_new = config.model.lora and not config.run.init  # disabling it restores the initial policy
    if adapter_is_new or not (optimizer.needs_reference or config.probe.probe_prompts):
        return None
    shared = {id(parameter): parameter for parameter in model.lm.parameters() if not parameter.requires_grad}
    return copy.deepcopy(model, shared).eval().requires_grad_(False)


def _agents(
    config: TrainConfig, model: ActorCritic, tokenizer: object, seed: int, *, with_expert: bool
) -> tuple[LanguageModelAgent, DAggerAgent | None]:
    """Return a tuple: the agent that learns, and the agent that plays with an expert, or None without an expert."""
    agent = LanguageModelAgent(
        model,
        tokenizer,
        name=config.run.optimizer,
        prompt=prompt_format(config.rollout.prompt, tokenizer),
        seed=seed,
        mode=config.rollout.mode,
        context=config.rollout.context,
        gamma=config.optimizer.gamma,
        guide_beta=config.rollout.guide_beta,
        record=True,
        share_prefixes=config.update.prefix_sharing == "auto",
    )
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
    """Return a list with a note if some games of the evaluation are games of the training, or an empty list."""
    known = set(map(game_hash, specs)).intersection(map(game_hash, held_out)) if held_out else set()
    return [f"the model is trained on {len(known)} of the {len(held_out)} games of --eval-game"] if known else []


def _slow_dtype(model: ActorCritic, accelerator: Accelerator) -> list[str]:
    """Return a list with a note if the model computes slowly in its data type, or an empty list."""
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
