"""The post's claims that no part can judge: about large models, text adventures and KL penalties."""

from experiments.reproduce.finding import SPECULATION, Finding, not_run

CLAIMS = {
    "rlhf": ("ACTDE might not work well for RLHF at scale.", "RLHF of a large model with both update rules."),
    "text-adventures": (
        "Pretrained language models did not learn to play text adventures with trl_textworld (footnote 8).",
        "a run of that public code as it was; this project's agents are a different program.",
    ),
    "neox": (
        "The implementation was tested with models up to GPT-NeoX 20B on 8 GPUs.",
        "a run of the public code on eight GPUs.",
    ),
    "reward-events": (
        "A single reward event has less impact on a language model's policy, because q soon predicts it.",
        "a language model whose q learns to predict one rewarded string, and its policy.",
    ),
    "diverse-events": (
        "A diverse range of reward events that are hard to predict might still reinforce.",
        "the same with many different rewarded strings.",
    ),
    "reward-logits": (
        "ACTDE adds reward logits to the initial policy in general, not only in tables (probably not).",
        "a comparison of trained function approximators with the initial policy times e^reward.",
    ),
    "kl-penalty": (
        "A KL penalty might be less important to keep the trained policy close to the initial one.",
        "language models trained by both rules, with and without a KL penalty.",
    ),
    "variety": (
        "Less mode collapse means a higher entropy of the next token, and perhaps more varied preferences.",
        "trained language models, the entropy of their next token and a measure of their preferences.",
    ),
    "shards": (
        "The more shards a system has, the greater the chance that some of them care about humans.",
        "a measure of the shards of trained models and of what they care about.",
    ),
    "easy-reward": (
        "High reward in a situation that is easy to explore into probably distorts the policy.",
        "training with mistakenly high rewards in easy and in rare situations, and a measure of distortion.",
    ),
    "misspecification": (
        "ACTDE instead of the advantage can mitigate reward misspecification automatically.",
        "training with misspecified rewards by both rules, judged by the intended reward.",
    ),
    "wireheading-practice": (
        "Practical RL algorithms are unlikely to try out wireheading.",
        "practical RL algorithms in an environment in which they could wirehead.",
    ),
}
"""Name -> the claim, and what would have to be run to judge it."""


def findings() -> list[Finding]:
    """One finding for each claim, `not run`."""
    return [
        not_run(f"other.{name}", claim, section=SPECULATION, criterion=f"Needed: {needed}")
        for name, (claim, needed) in CLAIMS.items()
    ]
