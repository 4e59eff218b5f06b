"""Maps setting names of libraries such as TRL and Stable-Baselines3 to our names."""

_OUR_NAMES = {  # names in other libraries: names in this project
    # game, model, optimizer
    "env env_id env_name environment task task_name dataset": "game",
    "reward reward_fn reward_func reward_funcs reward_model reward_model_path": "game",
    "model model_name model_name_or_path model_path model_id base_model pretrained_model": "trunk agent",
    "algo algorithm trainer optimizer optimizers": "optimizer optimizers",
    "seed seeds random_seed num_seeds n_seeds": "seed seeds",
    "lora_r lora_rank rank use_peft peft use_lora": "lora",
    "lora_dropout": "dropout",
    "bf16 fp16 torch_dtype precision mixed_precision": "dtype",
    # rollout
    "num_envs n_envs num_parallel_envs": "parallel",
    "batch_size rollout_batch_size per_device_train_batch_size train_batch_size": "episodes minibatches",
    "num_episodes n_episodes eval_episodes num_eval_episodes n_eval_episodes": "evaluations episodes",
    "n_steps num_steps rollout_steps rollout_length": "episodes max_turns",
    "max_steps max_episode_steps episode_length horizon": "max_turns iterations",
    "num_generations num_return_sequences": "group_size",
    "max_prompt_length max_seq_length max_length seq_length": "context",
    # update
    "learning_rate actor_lr policy_lr pi_lr": "lr",
    "critic_lr vf_lr value_learning_rate": "value_lr",
    "num_epochs n_epochs num_train_epochs num_ppo_epochs ppo_epochs update_epochs epoch": "epochs",
    "num_minibatches num_mini_batches n_minibatches minibatch_size mini_batch_size": "minibatches",
    "gradient_accumulation_steps": "micro_batch_tokens",
    "optim optimizer_class": "torch_optimizer",
    "anneal_lr lr_scheduler lr_scheduler_type scheduler": "lr_schedule",
    "adam_epsilon eps": "adam_eps",
    "adam_beta1 beta_1": "beta1",
    "adam_beta2 beta_2": "beta2",
    "grad_clip clip_grad max_gradient_norm clip_grad_norm": "max_grad_norm",
    "wd l2": "weight_decay",
    # optimizer
    "discount discount_factor": "gamma",
    "lam lambda gae": "gae_lambda",
    "cliprange clip_coef clip_eps clip_epsilon clip_ratio clip_param epsilon": "clip_range",
    "cliprange_value clip_range_vf clip_vloss": "value_clip_range",
    "vf_coef vf_coeff value_loss_coef value_loss_coeff": "value_coef",
    "ent_coef entropy_coeff entropy_bonus entropy_beta": "entropy_coef",
    "init_kl_coef kl_coeff kl_penalty kl_beta kl_weight": "kl_coef",
    "target_kl desired_kl": "kl_target",
    "norm_adv normalize_advantage normalize_advantages whiten_advantages whiten_rewards": "whitening",
    # budget, files
    "num_updates num_iterations n_iterations total_iterations num_rollouts": "iterations",
    "total_timesteps timesteps n_timesteps total_steps total_episodes": "env_steps",
    "max_time time_limit max_minutes": "minutes",
    "save_steps save_freq save_interval checkpoint_every": "save_every",
    "output output_dir output_path out_dir save_dir save_path log_dir logdir": "out to save",
    "run_name exp_name tensorboard_log folder out to save": "out to save",
    "resume_from_checkpoint resume_from": "resume",
    "checkpoint load load_checkpoint init_from": "init agent",
    "config_file cfg": "config",
    # the machine
    "num_threads n_threads cpu_threads": "threads",
    "num_workers n_workers jobs n_jobs num_processes processes": "workers",
    # play
    "deterministic argmax": "greedy",
    "top_k nucleus": "top_p",
    "wait sleep speed": "delay",
}
SYNONYMS = {
    library_name: our_names.split()
    for library_names, our_names in _OUR_NAMES.items()
    for library_name in library_names.split()
}
"""Maps a setting's name in another library to its names in this project, best first."""
MAX_SYNONYMS = 2  # maximum number of names in a hint


def synonyms(name: str, known_names: set[str]) -> list[str]:
    """Return at most `MAX_SYNONYMS` names in `known_names` with the same meaning as `name`."""
    return [our_name for our_name in SYNONYMS.get(name, ()) if our_name in known_names and our_name != name][
        :MAX_SYNONYMS
    ]
