"""A claim about trials, which is judged only if the trials that it needs were run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from experiments.reproduce.finding import Finding, Section, claim, not_run
from experiments.reproduce.statistics import Judgement


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The arguments of `finding.claim`, with a function that computes the judgement."""

    id: str
    text: str
    criterion: str
    judge: Callable[[], Judgement]
    of_post: bool = True


def findings_of(claims: Sequence[Claim], *, section: Section, ready: bool) -> list[Finding]:
    """A finding for each claim; all are `not run` unless the trials are `ready`."""
    return [
        claim(one.id, one.text, section=section, criterion=one.criterion, of_post=one.of_post, **one.judge())
        if ready
        else not_run(one.id, one.text, section=section, criterion=one.criterion, of_post=one.of_post)
        for one in claims
    ]
