"""Run TRL's PPO trainer: one step for each line on standard input.

    python -m benchmarks.peers.trl_ppo

The Python of an environment with TRL runs this file, which must not import the rest of the project.

The first line of input is the job, a JSON object: model (folder), dtype, threads, queries (lists of token ids),
response (tokens), epochs, micro (samples per micro-batch), steps, lora (rank; 0: none), rate, kl_coef, vf_coef.

The answers are lines of JSON. The first is {"libraries": bytes of memory before the model is loaded, "versions"}. For
each step, there is a line {"seconds", "update": seconds of the update alone, "peak": bytes}. If the job has `inspect`,
a last line contains the data and the log of the last step.
"""

import os
import tempfile
from typing import Any

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import torch
from datasets import Dataset  # type: ignore[import-not-found,unused-ignore]
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl.experimental.ppo import PPOConfig, PPOTrainer  # type: ignore[import-not-found,unused-ignore]

from benchmarks.memory import reset_peak
from benchmarks.peers.trl_steps import StepTimer, adapter, send, start


def record_rollout(trainer: Any) -> dict[str, list[Any]]:
    """Return a dict to which hooks add a rollout's tokens, values and scores."""
    records: dict[str, list[Any]] = {}

    def keep(name: str, tensor: torch.Tensor) -> None:
        if not torch.is_grad_enabled():
            records.setdefault(name, tensor.reshape(tensor.shape[0], -1).tolist())

    backbone = getattr(trainer.value_model, trainer.value_model.base_model_prefix)
    backbone.register_forward_pre_hook(lambda *call: keep("tokens", call[2]["input_ids"]), with_kwargs=True)
    trainer.value_model.score.register_forward_hook(lambda *call: keep("values", call[2]))
    trainer.reward_model.score.register_forward_hook(lambda *call: keep("scores", call[2]))
    return records


def make_trainer(job: dict[str, Any], folder: str, timer: StepTimer) -> Any:
    """Return the trainer with its four models: policy, reference, value and reward."""
    tokenizer = AutoTokenizer.from_pretrained(job["model"], padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token

    def load(kind: Any, **options: Any) -> Any:
        return kind.from_pretrained(job["model"], dtype=getattr(torch, job["dtype"]), **options)

    policy = load(AutoModelForCausalLM)
    torch.manual_seed(1)  # seed of the heads
    value, reward = (load(AutoModelForSequenceClassification, num_labels=1) for _ in range(2))
    queries = Dataset.from_dict({"input_ids": job["queries"]})
    return PPOTrainer(
        args=_config(job, folder),
        processing_class=tokenizer,
        model=policy,
        reward_model=reward,
        value_model=value,
        ref_model=None,  # the trainer uses a frozen copy, or the model without its adapter
        train_dataset=queries,
        eval_dataset=queries,
        callbacks=[timer],
        peft_config=adapter(job["lora"]),
    )


def _config(job: dict[str, Any], folder: str) -> Any:
    samples = len(job["queries"])
    return PPOConfig(
        output_dir=folder,
        use_cpu=True,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        bf16=False,  # use the models' own dtype without autocast
        disable_tqdm=True,
        num_sample_generations=0,
        total_episodes=samples * job["steps"],
        per_device_train_batch_size=job["micro"],
        gradient_accumulation_steps=samples // job["micro"],
        num_mini_batches=1,
        local_rollout_forward_batch_size=samples,
        num_ppo_epochs=job["epochs"],
        response_length=job["response"],
        temperature=1.0,
        learning_rate=job["rate"],
        kl_coef=job["kl_coef"],
        vf_coef=job["vf_coef"],
        gamma=1.0,
        lam=0.95,
        seed=1,
    )


def main() -> None:
    job, answers = start()
    with tempfile.TemporaryDirectory() as folder:
        timer = StepTimer(answers, job["steps"])
        trainer = make_trainer(job, folder, timer)
        trainer.model.register_forward_pre_hook(timer.first_pass)
        records = record_rollout(trainer) if job.get("inspect") else None
        reset_peak()
        trainer.train()
        if records is not None:
            send(answers, **records, logged=trainer.state.log_history[-1])


if __name__ == "__main__":
    main()
