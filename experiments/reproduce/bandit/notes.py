"""What follows from the findings of a full run, in words; a note needs the verdicts that it rests on."""

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.reproduce import finding
from experiments.reproduce.bandit import bellman, growth, limits, sequence
from experiments.reproduce.finding import NOT_REPRODUCED, REPRODUCED, Finding


@dataclass(frozen=True, slots=True)
class Note:
    """A paragraph of the report, and what it takes for granted."""

    section: str
    text: str
    holds: tuple[str, ...] = ()
    """Findings that must be `reproduced`; ids without the part's name."""
    fails: tuple[str, ...] = ()
    """Findings that must be `not reproduced`."""
    numbers: tuple[str, ...] = ()
    """Findings whose numbers stand in the text, in the places {0}, {1} and so on."""


NOTES = (
    Note(
        limits.SUMMARY,
        "Rewards of 10 and 11 from v = q = 0: whatever is eaten first gets 10 or 11 logits, so that both learners wait"
        " long for the other: ACTDE has settled after {0:,.0f} steps in the mean. What the post says holds after that.",
        numbers=("cookies.fast",),
        holds=("cookies.actde", "cookies.ppo"),
        fails=("cookies.fast",),
    ),
    Note(
        growth.FOOTNOTE,
        "So the footnote holds for a fixed rate, and for a decaying one only if the sum of its steps is finite. Then it"
        " stops every learner where it stands, ACTDE short of its softmax as well. A schedule with an infinite sum,"
        " which lets a learner get to where it goes, lets PPO go on without bound, though with 1/n for both only like"
        " ln ln n: slower than anyone would notice.",
        holds=("footnote2.fixed", "footnote2.both-square", "footnote2.actde"),
        fails=("footnote2.v", "footnote2.v-square", "footnote2.both", "footnote2.actde-square"),
    ),
    Note(
        bellman.ACTDE,
        "Zero updates are a matter of one step. Afterwards v, learnt from samples, moves, and so do the errors of the"
        " states before; and where v is kept at the policy's mean of q, consistent tables may still repel (docstring"
        " of `experiments/reproduce/bandit/bellman.py`), so that ACTDE moves on to another policy, within its bound.",
        holds=("bellman.first",),
        fails=("bellman.later", "bellman.stable"),
    ),
    Note(
        bellman.ACTDE,
        "That exploring is not penalised is a matter of where q begins: a first try has the error r - q_0. With rewards"
        " in [-1, 1] and q_0 = 0, ACTDE lowers the logit in a share of {0:.2f} of first tries of a worse arm, which are"
        " those with a reward below 0.",
        holds=("actde.explore",),
        fails=("actde.explore-below",),
        numbers=("actde.explore-below",),
    ),
    Note(
        bellman.ACTDE,
        "That rewards are added to the logits is a matter of the rule that moves one logit by the error. The gradient"
        " of log pi, which is what networks follow, moves all logits of the state: reinforcement is finite there too,"
        " but where it ends depends on the order of the actions.",
        holds=("actde.added",),
        fails=("actde.gradient",),
    ),
    Note(
        sequence.SECTION,
        "The ledger is proved in `actde/tabular.py`. It answers the footnote: at a discount below 1 logits stay within"
        " (b / alpha) max |r| / (1 - discount) of where they began; without a discount, in a game without an end, they"
        " do not.",
        holds=("footnote3.ledger", "footnote3.endless"),
        fails=("footnote3.discounted",),
    ),
    Note(
        limits.WIREHEADING,
        "On its own policy neither rule gets to judge between the two: the first wireheading puts 100 logits on it, and"
        " pizza is not tried again in any time. PPO's growth without bound and ACTDE's softmax are both seen only where"
        " the actions are tried in turn.",
        holds=("wireheading.ppo",),
        fails=("wireheading.ppo-on-policy", "wireheading.actde-on-policy"),
    ),
    Note(
        finding.SECTIONS[-2],
        "Lowered rewards push an action away as soon as it is tried, so the other one comes next: both are tried"
        " sooner, although the policy is far from even for that one step. Raised rewards hold on to whatever came"
        " first, for a time that grows like e^reward.",
        holds=("appendix.lower", "appendix.higher"),
        fails=("appendix.lower-entropy",),
    ),
)


def standing(found: Sequence[Finding]) -> dict[str, list[str]]:
    """Section -> the notes that rest on what was found."""
    verdicts = {item.id.partition(".")[2]: item.verdict for item in found}
    ours = {item.id.partition(".")[2]: item.ours for item in found}
    notes: dict[str, list[str]] = {}
    for note in NOTES:
        rests = [verdicts[name] == REPRODUCED for name in note.holds]
        rests += [verdicts[name] == NOT_REPRODUCED for name in note.fails]
        if all(rests):
            text = note.text.format(*(ours[name] for name in note.numbers))
            notes.setdefault(note.section, []).append(text)
    return notes
