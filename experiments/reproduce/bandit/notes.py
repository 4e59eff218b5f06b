"""Conclusions from the findings of a full run, in words. A note appears only with the verdicts that it depends on."""

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.reproduce.finding import (
    ACTDE,
    FOOTNOTE_2,
    FOOTNOTE_3,
    NOT_REPRODUCED,
    RANDOM_NOTES,
    REPRODUCED,
    SUMMARY,
    WIREHEADING,
    Finding,
    Section,
)


@dataclass(frozen=True, slots=True)
class Note:
    """A paragraph of the report and its preconditions. Ids of findings are without the part's name."""

    section: Section
    text: str
    reproduced: tuple[str, ...]
    """Findings that must be `reproduced`."""
    not_reproduced: tuple[str, ...]
    """Findings that must be `not reproduced`."""
    number: str = ""
    """The finding whose number takes the place of {0} in the text."""


NOTES = (
    Note(
        SUMMARY,
        "With rewards 10 and 11 and v = q = 0, whichever food is eaten first gets 10 or 11 logits, so both learners"
        " wait long for the other one: ACTDE converges after {0:,.0f} steps in the mean. After that, the post's"
        " statements hold.",
        reproduced=("cookies.actde", "cookies.ppo"),
        not_reproduced=("cookies.fast",),
        number="cookies.fast",
    ),
    Note(
        FOOTNOTE_2,
        "So the footnote holds for a fixed rate, and for a decaying one only if the sum of its steps is finite. Such a"
        " schedule stops every learner early, and ACTDE short of its softmax as well. A schedule with an infinite sum,"
        " under which a learner can reach its limit, lets PPO grow without bound, although with 1/n for both only like"
        " ln ln n, which is too slow to notice.",
        reproduced=("footnote2.fixed", "footnote2.both-square", "footnote2.actde"),
        not_reproduced=("footnote2.v", "footnote2.v-square", "footnote2.both", "footnote2.actde-square"),
    ),
    Note(
        ACTDE,
        "Zero updates last for one step. After it v, which learns from samples, moves, and with it the errors of the"
        " preceding states. Even if v is kept at the policy's mean of q, consistent tables may be unstable (docstring of"
        " `experiments/reproduce/bandit/bellman.py`), so that ACTDE moves on to another policy, within its bound.",
        reproduced=("bellman.first",),
        not_reproduced=("bellman.later", "bellman.stable"),
    ),
    Note(
        ACTDE,
        "Whether exploration is penalised depends on q's initial value, since the error of a first try is r - q_0. With"
        " rewards in [-1, 1] and q_0 = 0, ACTDE lowers the logit in a share of {0:.2f} of first tries of a worse arm:"
        " those with a reward below 0.",
        reproduced=("actde.explore",),
        not_reproduced=("actde.explore-below",),
        number="actde.explore-below",
    ),
    Note(
        ACTDE,
        "Rewards are added to the logits only if the error moves a single logit. The gradient of log pi, which networks"
        " follow, moves all logits of the state: reinforcement is then finite too, but the final policy depends on the"
        " order of the actions.",
        reproduced=("actde.added",),
        not_reproduced=("actde.gradient",),
    ),
    Note(
        FOOTNOTE_3,
        "`actde/tabular.py` proves the identity, which answers the footnote: at a discount below 1, logits stay within"
        " (b / alpha) max |r| / (1 - discount) of their initial values; without a discount, in a game without an end,"
        " they do not.",
        reproduced=("footnote3.ledger", "footnote3.endless"),
        not_reproduced=("footnote3.discounted",),
    ),
    Note(
        WIREHEADING,
        "On policy, neither rule ever compares the two actions: the first wireheading adds 100 logits to it, and pizza"
        " is practically never tried again. PPO's unbounded growth and ACTDE's softmax appear only if the actions are"
        " taken in turn.",
        reproduced=("wireheading.ppo",),
        not_reproduced=("wireheading.ppo-on-policy", "wireheading.actde-on-policy"),
    ),
    Note(
        RANDOM_NOTES,
        "A lowered reward makes an action less likely as soon as it is tried, so the other one is tried sooner, although"
        " the policy is far from uniform for that one step. A raised reward keeps the policy at the action that came"
        " first, for a time that grows like e^reward.",
        reproduced=("appendix.lower", "appendix.higher"),
        not_reproduced=("appendix.lower-entropy",),
    ),
)


def supported(findings: Sequence[Finding]) -> dict[Section, list[str]]:
    """Section -> the notes whose preconditions hold."""
    by_name = {finding.id.partition(".")[2]: finding for finding in findings}
    notes: dict[Section, list[str]] = {}
    for note in NOTES:
        wanted = dict.fromkeys(note.reproduced, REPRODUCED) | dict.fromkeys(note.not_reproduced, NOT_REPRODUCED)
        if all(by_name[name].verdict == verdict for name, verdict in wanted.items()):
            numbers = [by_name[note.number].ours] if note.number else []
            notes.setdefault(note.section, []).append(note.text.format(*numbers))
    return notes
