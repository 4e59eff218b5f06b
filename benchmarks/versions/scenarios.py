"""Scenarios: commands whose outputs must be equal in two versions.

{out} is the scenario's own folder. Seeds are fixed. Sizes are as small as possible, as long as the commands still reach
every part of the code.
"""

SIMPLE = "textworld:simple?seed=1..4"
SMALL = "--episodes 4 --parallel 4 --max-turns 12 --save-every 2"
TEXTS = "--game completion --seed 20 --episodes 4 --parallel 4"
FAMILIES = (
    "textworld:simple?seed=100..101 + textworld:coin?level=5&seed=7 + textworld:coin?level=12&seed=8"
    " + textworld:treasure?level=3&seed=5 + textworld:treasure?level=12&seed=6 + textworld:cooking?level=5&seed=3..4"
    " + textworld:quest?level=6&seed=2 + textworld:textnav?level=2&seed=9"
)
"""Ten games of all six families."""

SCENARIOS: dict[str, list[str]] = {
    "bandit": [
        "train --game bandit --optimizer actde --seed 1 --iterations 20 --json --out {out}/actde",
        "train --game bandit --optimizer ppo --seed 2 --iterations 20 --kl-coef 0.1 --kl-target 0.05 --gae-lambda 0.9"
        " --lr-schedule linear --json --out {out}/ppo",
        "train --game bandit --optimizer ppo --seed 3 --iterations 6 --kl-coef 0.1 --kl-place reward --train-q"
        " --torch-optimizer sgd --whitening batch --minibatches 3 --json --out {out}/sgd",
        "train --game bandit --optimizer grpo --seed 19 --iterations 6 --json --out {out}/grpo",
    ],
    "ipd": [
        "train --game ipd --optimizer actde --seed 4 --iterations 4 --json --out {out}/actde",
        "train --game ipd?payoff=post&start=defect --optimizer ppo --seed 5 --iterations 4 --no-rollout-dropout"
        " --gradient-checkpointing --credit command --json --out {out}/ppo",
    ],
    "ppo": [
        f"train --game {SIMPLE} --optimizer ppo --seed 6 --iterations 3 --lm-loss-coef 0.1 --lm-loss-tokens 16 {SMALL}"
        " --win-bonus 2 --loss-penalty 1 --step-cost 0.01 --invalid-penalty 0.1 --bonus 0.1 --bonus-command look"
        " --reward-scale 0.5 --json --out {out}/run",
        "train --resume --iterations 4 --json --out {out}/run",
        "watch {out}/run --iteration 3 --json",
        "runs {out} --json",
    ],
    "actde": [
        f"train --game {SIMPLE} --optimizer actde --dueling --seed 7 --iterations 3 --critic-warmup 1 --q-heads 2"
        f" --target-q --head-layers 2 --value-loss ilql --q-lr 1e-3 --dropout 0 {SMALL} --json --out {{out}}/run",
    ],
    "free": [
        f"train --game {SIMPLE} --optimizer ppo --seed 8 --iterations 2 --mode free {SMALL} --json --out {{out}}/run",
    ],
    "imitation": [
        f"train --game {FAMILIES} --optimizer imitation --dueling --seed 9 --iterations 3 {SMALL} --json"
        " --out {out}/prior",
        f"train --game {FAMILIES} --optimizer imitation --seed 10 --iterations 3 --beta 0.5 --beta-decay 0.9"
        f" --greedy-share 0.5 --expert policy --init {{out}}/prior {SMALL} --json --out {{out}}/dagger",
        f"train --game {SIMPLE} --optimizer actde --seed 11 --iterations 2 --kl-coef 0.05 --init {{out}}/dagger {SMALL}"
        " --json --out {out}/actde",
        "evaluate --agent {out}/actde --game textworld:simple?seed=1..3 --episodes 3 --bonus-command look --json",
    ],
    "rules": [
        f"train --game {SIMPLE} --optimizer {optimizer} --data random:8,expert:4 --seed 21 --iterations 2 {SMALL}"
        f" --json --out {{out}}/{optimizer}"
        for optimizer in ("ilql", "decision", "rejection-transition")
    ]
    + [
        f"train --game {SIMPLE} --optimizer {optimizer} --seed 23 --iterations 2 {SMALL} --group-size 2"
        f" --json --out {{out}}/{optimizer}"
        for optimizer in ("mpo", "qae", "actde-corrected")
    ],
    "rejection": [
        f"train --game {SIMPLE} --optimizer rejection --top-fraction 0.5 --seed 12 --iterations 2 {SMALL}"
        " --group-size 2 --json --out {out}/run",
    ],
    "promotion": [
        f"train --game textworld:coin?level=1..3&seed=1..2 --optimizer ppo --promote 0.1 --promote-episodes 4 --seed 13"
        f" --iterations 6 {SMALL} --json --out {{out}}/run",
    ],
    "smollm2": [
        "train --game textworld:simple?seed=1 --optimizer actde --trunk smollm2 --seed 14 --iterations 2 --episodes 2"
        " --parallel 2 --max-turns 5 --lora 4 --kl-coef 0.1 --json --out {out}/run",
    ],
    "completions": [
        f"train {TEXTS} --optimizer actde --iterations 2 --json --out {{out}}/actde",
        f"train {TEXTS} --optimizer grpo --group-size 2 --iterations 1 --json --out {{out}}/grpo",
        "make-pairs --game completion --judge sentiment --pairs 6 --seed 22 --out {out}/pairs.jsonl",
    ],
    "shipped-small": [
        f"play --agent {agent} --game {FAMILIES} --episodes 10 --seed 15 --json"
        for agent in ("actde-small", "ppo-small")
    ],
    "shipped": [
        f"play --agent {agent} --game {FAMILIES} --episodes 10 --max-turns 8 --seed 16 --json"
        for agent in ("actde", "ppo")
    ],
    "evaluate": [
        f"evaluate --agent actde-small --greedy --game {FAMILIES} --episodes 10 --seed 17 --parallel 4 --json",
        "evaluate --card --agent actde-small --tasks simple --episodes 2 --out {out}/card.md --json",
    ],
    "generate": [
        f"generate {{out}}/{family} --family {family} --levels {levels} --per-level 1 --seed 18 --workers 1"
        f" --split {split} --json"
        for family, levels, split in (
            ("simple", "1", "train"),
            ("coin", "2,5 --crawl", "test"),
            ("treasure", "3", "train"),
            ("cooking", "1-2", "valid"),
            ("quest", "3", "train"),
            ("textnav", "2 --set observed=part", "test"),
        )
    ],
    "compare": [
        "compare --game bandit --seeds 0-1 --optimizers ppo,actde+kl_coef=0.1 --iterations 4 --evaluations 8"
        " --out {out}/bandit",
        "compare --game textworld:simple?seed=1..2 --seeds 0 --optimizers actde --vary q_lr=1e-3 --iterations 1"
        " --episodes 4 --max-turns 8 --evaluations 4 --tests textworld:simple?seed=2000000000..2000000001"
        " --out {out}/simple",
    ],
    "reproduce": ["reproduce bandit --quick --out {out}/report"],
}
"""Name -> commands. Spaces separate the words of a command, but several games joined by " + " are one word."""


def words(line: str) -> list[str]:
    """Return the words of a command."""
    joined = line.replace(" + ", "\0")
    return [word.replace("\0", " + ") for word in joined.split()]
