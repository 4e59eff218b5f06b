"""Train on a game by TRL's GRPO, with `ToolEnvironment` as `environment_factory`, and check what TRL reports.

    python -m venv ../trl
    ../trl/bin/pip install torch==2.13.0 transformers==5.23.0 trl==1.16.0 textworld==1.7.0 gymnasium
    ../trl/bin/python -m benchmarks.trl_environment [--game GAME] [--steps N]

The Python of an environment with TRL runs this file from the root of the checkout. TRL is not among the tested
packages, because it requires pyarrow (170 MB).

The model is a tiny Llama with random weights and a byte tokenizer. Random weights never write a tool call, so
`Caller` replaces the model's `generate`: it writes a call with a random admissible command until the game is over. TRL
does the rest: resets with the rows of the dataset, parsing and execution of the calls, rewards and gradient steps. The
command fails if an episode did not call the tool, if a call failed, if TRL's rewards are not those of the environments,
if a loss or gradient is not finite, or if all gradients are 0.
"""

import argparse
import json
import math
import random
import tempfile
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from games.serving.trl import ToolEnvironment

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CALL = '<tool_call>\n{{"name": "play", "arguments": {{"command": {}}}}}\n</tool_call><|im_end|>'
OFFER = "Admissible commands: "


def byte_tokenizer() -> Any:
    """Return a byte tokenizer with the special tokens and the chat template of Qwen3."""
    from trl.chat_template_utils import qwen3_chat_template  # type: ignore[import-not-found,unused-ignore]

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>", padding_side="left"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL)})
    tokenizer.chat_template = qwen3_chat_template
    return tokenizer


class Caller:
    """Writes a tool call with a random admissible command, in place of a model's `generate`."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.rng = tokenizer, random.Random(0)

    def __call__(self, input_ids: torch.Tensor, **_: Any) -> torch.Tensor:
        """Return the tokens of each row followed by those of a call, padded at the right."""
        texts = [self._text(row) for row in self.tokenizer.batch_decode(input_ids)]
        added = self.tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")["input_ids"]
        return torch.cat([input_ids, added.to(input_ids.device)], dim=1)

    def _text(self, conversation: str) -> str:
        result = conversation.rpartition("<|im_start|>user")[2]
        if OFFER not in result:
            return "The game is over.<|im_end|>"
        offered = result.rpartition(OFFER)[2].partition("\n")[0].partition("<|im_end|>")[0]
        return CALL.format(json.dumps(self.rng.choice(offered.split("; "))))


class Counted(ToolEnvironment):
    """An environment that keeps the rewards of all rollouts."""

    totals: list[float] = []  # noqa: RUF012

    def get_reward(self) -> float:
        self.totals.append(super().get_reward())
        return self.totals[-1]


def train(game: str, steps: int, folder: str) -> list[dict[str, float]]:
    """Train for some steps and return TRL's log of each step."""
    from datasets import Dataset  # type: ignore[import-not-found,unused-ignore]
    from trl import GRPOConfig, GRPOTrainer  # type: ignore[import-not-found,unused-ignore]

    tokenizer = byte_tokenizer()
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=16_384, **sizes))
    model.generate = Caller(tokenizer)
    rows = [{"prompt": [{"role": "user", "content": "Win the game.\n\n"}], "seed": seed} for seed in range(4)]
    config = GRPOConfig(
        output_dir=folder, use_cpu=True, report_to="none", save_strategy="no", logging_steps=1, disable_tqdm=True,
        max_steps=steps, per_device_train_batch_size=8, num_generations=4, max_completion_length=8192,
        max_tool_calling_iterations=10, learning_rate=1e-3, beta=0.0, bf16=False, gradient_checkpointing=False,
    )  # fmt: skip
    trainer = GRPOTrainer(
        model=model,
        args=config,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(rows),
        environment_factory=partial(Counted, game, max_turns=3),
    )
    trainer.train()
    return [row for row in trainer.state.log_history if "loss" in row]


def check(logs: Sequence[dict[str, float]], steps: int) -> None:
    """Raise AssertionError if TRL's log of the steps is not as expected."""
    assert len(logs) == steps, f"expected {steps} steps, got {len(logs)}"
    rewards = [sum(Counted.totals[start : start + 8]) / 8 for start in range(0, 8 * steps, 8)]
    for row, reward in zip(logs, rewards, strict=True):
        assert row["tools/call_frequency"] >= 1, "an episode did not call the tool"
        assert row["tools/failure_frequency"] == 0, "a call failed"
        assert math.isclose(row["reward"], reward, abs_tol=1e-6), "TRL's reward is not that of the environments"
        assert math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"]), "a loss or gradient is not finite"
    assert any(row["grad_norm"] > 0 for row in logs), "all rewards of all groups are equal"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--game", default="textworld:coin?level=1&seed=1..4", help="GAME with admissible commands")
    parser.add_argument("--steps", type=int, default=2, help="gradient steps")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        logs = train(options.game, options.steps, folder)
    for row in logs:
        print(json.dumps(row))
    check(logs, options.steps)


if __name__ == "__main__":
    main()
