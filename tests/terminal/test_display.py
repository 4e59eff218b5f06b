"""Tables and numbers in a terminal and in a pipe."""

import io
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console, RenderableType

from agents.config import BudgetConfig
from agents.play.baselines import WalkthroughAgent
from agents.play.episode import Episode
from agents.play.evaluate import Estimate, Evaluation
from agents.play.runner import EpisodeRunner
from agents.play.transcript import Entry
from agents.protocol import Decision, GeneratedToken, Turn
from experiments.reproduce import PARTS
from experiments.reproduce.finding import VERDICTS
from games import readable, resolve
from terminal import commands, comparison, display, evaluation, playback, training
from tests import ROOT
from tests.helpers.fakes import CorridorSpec

GAME = "textworld:simple?level=1&seed=100..119&goal=none"
TOKEN = GeneratedToken(text=" east", logprob=-1.0, value=-1e-9, q_value=-1e-9)
METRICS = {
    "iteration": 0,
    "episodes": 8,
    "env_steps": 8,
    "seconds": 3.0,
    "success": 0.0,
    "recent_success": 0.0,
    "reward": 0.31,
    "steps": 1.0,
    "turn_entropy": 17.4,
    "entropy": 3.48,
    "value": 0.1,
    "normalized_score": 0.3,
    "approx_kl": 0.01,
    "kl_ref": 0.02,
    "steps_per_second": 3.0,
}


def drawn(thing: RenderableType, width: int) -> str:
    file = io.StringIO()
    Console(file=file, width=width, highlight=False).print(thing)
    return file.getvalue()


def evaluated(agent: str, texts: bool = False) -> Evaluation:
    share, number = Estimate(value=1.0, low=0.16, high=1.0), Estimate(value=100.0, low=35.0, high=101.5)
    measures = ("reward", "token_entropy", "distinct_2", "self_bleu", "commonest_word")
    return Evaluation(
        agent=agent,
        game=GAME,
        episodes=50,
        errors=0,
        success_rate=share,
        normalized_score=share,
        steps=number,
        steps_to_win=number,
        entropy=number,
        bonus_share=share,
        texts=dict.fromkeys(measures, number) if texts else None,
    )


def compared() -> RenderableType:
    texts: dict[str, Any] = {"entropy": 3.5, "kl": 12.25, "distinct_2": 0.5, "self_bleu": 0.5, "commonest_word": 0.33}
    texts |= {"samples": [["We had a", " wonderful time"]]}
    reward = {"sampled": {"texts": {"reward": {"value": -0.31}}}}
    names = ("ppo+kl_coef=0.1", "actde")
    rows = [{"optimizer": n, "seed": 0, "collapse": {"texts": texts}, "evaluation": reward} for n in names]
    return comparison.text_tables(rows)[0]


def decision(**changes: Any) -> Decision:
    return Decision(
        command="go east",
        probabilities={"go east": 0.6, "open the antique trunk": 0.4},
        value=-1e-9,
        q_values={"go east": -1e-9},
        entropy=-1e-9,
        **changes,
    )


TABLES: dict[str, tuple[Callable[[], RenderableType], list[str]]] = {
    "evaluation": (
        lambda: evaluation.evaluation_table([evaluated(name) for name in ("actde-small", "random", "walkthrough")]),
        ["actde-small", "walkthrough", "steps to win", "bonus command", "16 to 100%", "101.5"],
    ),
    "texts": (
        lambda: evaluation.evaluation_table([evaluated(name, texts=True) for name in ("runs/a", "smollm2")]),
        ["runs/a", "smollm2", "self-BLEU", "+35.00 to +101.50"],
    ),
    "long name": (
        lambda: evaluation.evaluation_table([evaluated("runs/" + "x" * 90), evaluated("walkthrough")]),
        ["walkthrough", "steps to win", "16 to 100%"],
    ),
    "comparison": (compared, ["optimizer", "ppo+kl_coef", "distinct", "12.25", "33%", "-0.31"]),
    "policy": (lambda: display.policy_table(decision()), ["go east", "60.0%"]),
    "tokens": (lambda: display.policy_table(decision(tokens=(TOKEN,))), ['" east"', "36.8%"]),
}


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", TABLES)
def test_tables_fit_and_break_no_word(name: str, width: int) -> None:
    make, words = TABLES[name]
    shown = drawn(make(), width)
    assert max(map(len, shown.splitlines())) <= width
    assert all(word in shown for word in words), shown


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_panel_of_a_training_fits(width: int) -> None:
    history = [METRICS | {"reward": float(i % 7), "value": -12345.678} for i in range(100)]
    shown = drawn(training.panel("actde on bandit", history, BudgetConfig(), width), width)
    assert max(map(len, shown.splitlines())) <= width
    assert "iteration 1 of 200" in shown and "3 elapsed, at most" in shown
    for label in ("win rate of this rollout", "commands per second", "-12345.678"):
        assert label in shown
    assert len(shown.splitlines()) == 5 + sum(name in METRICS for name, _, _ in training.PANEL_METRICS)


def test_zero_has_no_sign() -> None:
    shown = drawn(display.policy_table(decision()), 100) + drawn(display.policy_table(decision(tokens=(TOKEN,))), 100)
    assert "entropy 0.00 nats" in shown and not re.search(r"-0\.0+\b", shown)
    assert display.number(-0.001) == "0.00" and display.number(-0.0) == "0"
    assert "value 0.000" in training.line(METRICS | {"value": -1e-9}, 3)


def test_every_number_is_formatted_without_the_sign_of_zero() -> None:
    for path in (*(ROOT / "terminal").rglob("*.py"), ROOT / "experiments" / "tables.py"):
        unsafe = re.findall(r"[:\"']\+?\.\d[fg%].*", path.read_text())
        assert not unsafe, path


def test_progress_of_texts_shows_what_matters_there() -> None:
    line = training.line(training.displayed_metrics(METRICS, texts=True), 3)
    assert line == "1/3  0:03  reward 0.31  entropy 3.480  value 0.100  approx_kl 0.0100  kl_ref 0.0200"
    line = training.line(training.displayed_metrics(METRICS, texts=False), 3)
    assert line.startswith("1/3  0:03  recent_success 0.00  reward 0.31  steps 1.0  turn_entropy 17.400  value")
    assert " entropy" not in line
    assert "win" not in drawn(
        training.panel("x", [training.displayed_metrics(METRICS, texts=True)], BudgetConfig(), 80), 80
    )


def test_the_kl_to_the_old_policy_is_hidden_if_it_is_measured_before_the_only_gradient_step() -> None:
    row = training.displayed_metrics(METRICS, texts=True, one_step=True)
    assert METRICS.keys() - training.displayed_metrics(METRICS, texts=True).keys() == METRICS.keys() - row.keys() - {
        "approx_kl"
    }
    assert "approx_kl" not in training.line(row, 3)


def test_win_rates_are_shown_only_if_the_game_can_be_won() -> None:
    unknown = {name: value for name, value in METRICS.items() if name != "normalized_score"}
    row = training.displayed_metrics(unknown, texts=False)
    assert training.line(row, 3).startswith("1/3  0:03  reward 0.31  steps 1.0")
    assert "win rate" not in drawn(training.panel("x", [row], BudgetConfig(), 80), 80)
    won = training.displayed_metrics(unknown | {"success": 0.5}, texts=False)
    assert "recent_success 0.00" in training.line(won, 3)
    assert "recent_success" in training.displayed_metrics(unknown, texts=False, history=[row, won])
    assert "recent_success" in training.displayed_metrics(unknown | {"recent_success": 0.1}, texts=False), (
        "a resumed run"
    )


@pytest.mark.parametrize(
    "typed",
    [
        "completion?prompts=/tmp/my openings.txt&reward=rm:runs/rm*2,length*-0.01",
        "completion?reward=contains:a%26b%25%2Bé",
        "bandit?arms= red, blue",
    ],
)
def test_games_are_shown_as_they_can_be_typed(typed: str) -> None:
    (spec,) = resolve(typed)
    assert readable(spec.name) == typed and resolve(readable(spec.name)) == [spec]
    episode = Episode(
        index=0,
        game=spec.name,
        seed=0,
        steps=(),
        final_observation="",
        score=0.0,
        max_score=None,
        won=False,
        lost=False,
        terminated=True,
        truncated=False,
        moves=0,
    )
    assert typed in drawn(display.episode_table([episode]), 200)
    assert typed in drawn(display.heading(agent="actde", game=spec.name, episode=0), 200)
    assert typed in playback.episode_lines(Entry(iteration=0, episode=episode))[0]
    assert typed in str(playback.LineView("human", human=True).episode(episode)[0])


def test_failed_episodes_are_shown() -> None:
    shown = drawn(evaluation.evaluation_table([evaluated("ppo"), replace(evaluated("random"), errors=17)]), 80)
    assert re.search(r"failed +0 +17 *\n", shown)
    assert "errors 17" in training.line({**METRICS, "errors": 17}, 9)
    assert re.search(
        "failed episodes +17", drawn(training.panel("t", [{**METRICS, "errors": 17}], BudgetConfig(), 80), 80)
    )


def test_q_of_commands_that_are_hardly_played_is_in_brackets() -> None:
    decision = Decision(command="go", probabilities={"go": 0.995, "eat": 0.005}, q_values={"go": 0.5, "eat": 2.0})
    shown = drawn(display.policy_table(decision), 100)
    assert re.search(r"go .* \+0\.50", shown) and re.search(r"eat .* \(\+2\.00\)", shown)
    assert "(q): p below 1%, hardly trained" in shown
    often = replace(decision, probabilities={"go": 0.99, "eat": 0.01})
    assert "(" not in drawn(display.policy_table(often), 100)


@pytest.mark.parametrize("view", [playback.LineView("human", human=True), playback.PanelView("human", human=True)])
def test_a_person_sees_commands_only_if_there_are_some(view: playback.LineView | playback.PanelView) -> None:
    def parts(commands: list[str]) -> int:
        info = {"admissible_commands": commands}
        return len(view.turn(Turn(episode=0, game="g", observation="Go.", info=info, reward=0.0, first=False)))

    assert (parts([]), parts(["go"])) == (1, 2)


def test_wins_are_counted_only_if_the_game_reports_them() -> None:
    with EpisodeRunner([CorridorSpec("short", 2)], seed=0) as runner:
        episodes = list(runner.play(WalkthroughAgent(), 2))
    assert playback.LineView("human", human=True).end(episodes) == ["2 of 2 episodes won"]
    assert "2 of 2 won" in drawn(display.episode_table(episodes), 100)
    unknown = [replace(episode, won=None) for episode in episodes]
    assert playback.LineView("human", human=True).end(unknown) == []
    assert "won" not in drawn(display.episode_table(unknown), 100)


@pytest.mark.parametrize(
    ("text", "tidied"),
    [
        ("You see:\n\ta lamp\n\ta key", "You see:\n    a lamp\n    a key"),
        ("one\n\t\n \n\ntwo\t", "one\n\ntwo"),
        ("a\tb\x1b[2J", "a   b\\x1b[2J"),
        ("You win.\n\n" + 40 * " " + "*** The End ***", "You win.\n\n    *** The End ***"),
    ],
)
def test_tabs_of_a_game_are_blanks(text: str, tidied: str) -> None:
    assert display.tidy(text) == tidied


def test_a_long_title_is_complete_in_a_narrow_terminal() -> None:
    shown = drawn(display.heading(agent="actde-small", game=GAME, episode=12), 40)
    assert "".join(shown.split()) == f"actde-smallplays{GAME}episode12"
    assert "─" in drawn(display.heading(agent="random", game="bandit", episode=0), 40)


def test_the_line_below_a_policy_stays_indented() -> None:
    rare = replace(decision(), probabilities={"go east": 0.999, "wait": 0.001})
    below = drawn(display.policy_table(rare), 40).splitlines()[3:]
    assert len(below) > 1 and all(line.startswith("  ") for line in below)
    assert "hardly trained" in " ".join(" ".join(below).split())


def test_no_verdict_of_a_reproduction_is_cut() -> None:
    parts = {part: {str(verdict): 7 for verdict in VERDICTS} for part in (*PARTS, "other", "added by us")}
    shown = drawn(commands.verdict_table(parts), 60)
    assert max(map(len, shown.splitlines())) <= 60 and "…" not in shown
    assert {*" ".join(VERDICTS).split(), *PARTS, "added", "other"} <= set(shown.split())


def test_a_long_command_is_indented() -> None:
    lines = drawn(display.outcome_line("word " * 30, reward=0, score="score 0"), 40).rstrip().splitlines()
    assert lines[0].startswith(" > word") and len(lines) > 3
    assert all(line.startswith("   ") for line in lines[1:])


def test_a_narrow_policy_keeps_its_heads_and_whole_commands() -> None:
    chosen = replace(decision(), command="turn gas on", probabilities={"turn gas on": 0.75, "wait": 0.25})
    head, first, *_ = drawn(display.policy_table(replace(chosen, q_values={"wait": 1.0}), bar_width=0), 29).splitlines()
    assert head.split() == ["command", "p", "q"]
    assert first.split() == ["▶", "turn", "gas", "on", "75%"]
