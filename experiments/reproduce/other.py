"""The post's claims that no part judges: what it says about large models, text adventures and penalties."""

from experiments.reproduce.finding import Finding, not_run

SECTION = "Speculation and text adventures"
CLAIMS = (
    ("rlhf", "ACTDE might not work well for RLHF at scale.", "Runs of RLHF on a large model, with either rule."),
    (
        "text-adventures",
        "With trl_textworld, pretrained language models were not able to learn to play the text adventure"
        " (footnote 8).",
        "The public code, run as it was; this project's own agents are another program.",
    ),
    ("neox", "The implementation was tested up to GPT-NeoX 20B on 8 GPUs.", "The public code on eight GPUs."),
    (
        "reward-events",
        "A single reward event has less impact on a language model's policy, because q soon predicts it.",
        "A language model whose q learns to predict one rewarded string, and its policy.",
    ),
    (
        "diverse-events",
        "A diverse range of hard-to-predict reward events might still reinforce.",
        "The same with many different strings.",
    ),
    (
        "reward-logits",
        "ACTDE adds reward logits onto the initial policy in general, not only in tables (probably not).",
        "Function approximators whose trained policy is compared with the tilted initial one.",
    ),
    (
        "kl-penalty",
        "KL penalties might be less important to keep the trained policy close to the initial one.",
        "Language models trained by either rule with and without a penalty.",
    ),
    (
        "variety",
        "Less mode collapse means higher entropy of the next token, and perhaps more variety of preferences.",
        "A measure of preferences beside entropy in trained language models.",
    ),
    (
        "shards",
        "If a system has more shards, there is a greater chance that some of them care about humans.",
        "A measure of shards in trained models, and of what they care about.",
    ),
    (
        "easy-reward",
        "A high reward in a situation that is easily explored into probably leads to distorted policies.",
        "Training on rewards that are high by mistake in easy and in rare situations, and a measure of distortion.",
    ),
    (
        "misspecification",
        "By ACTDE in place of advantage we can automatically mitigate reward misspecification.",
        "The same with either rule, judged by what the reward was meant to say.",
    ),
    (
        "wireheading-practice",
        "Trying out wireheading is unlikely for practical RL algorithms.",
        "Practical RL algorithms that could try it.",
    ),
)
"""Name, claim, what would have to be run."""


def findings() -> list[Finding]:
    """One finding for each, `not run`."""
    return [
        not_run(f"other.{name}", claim, section=SECTION, criterion=f"Needed: {needed[0].lower()}{needed[1:]}")
        for name, claim, needed in CLAIMS
    ]
