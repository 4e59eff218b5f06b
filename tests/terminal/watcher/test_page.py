"""Pages to share: what they show, and that texts of others contain no markup."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from agents.play.transcript import Entry
from agents.protocol import Decision, GeneratedToken
from terminal.watcher.page import write_page
from tests.helpers.screens import DETOUR, QUEST, WRITTEN

HOSTILE = "</pre><script>alert(1)</script>\"' onload=x {{ 7*7 }} & | ![a](b) **b** `c` ```\n# d\n\x1b[31m\u202e"


class Parts(HTMLParser):
    """The tags, attributes and texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def page(path: Path, *entries: Entry) -> str:
    write_page(path, (("ppo", entry) for entry in entries))
    return path.read_text()


def test_an_html_page_shows_every_turn(tmp_path: Path) -> None:
    entries = [Entry(iteration=4, episode=episode) for episode in (QUEST, DETOUR, WRITTEN)]
    found = Parts(page(tmp_path / "p.html", *entries))
    assert found.tags.count("details") == 3 and found.tags.count("section") == 3 + 5 + 1
    assert found.tags.count("svg") == 9, "v, q and reward of each episode"
    words = " ".join(found.text.split())
    for part in (
        *("3 episodes of ppo", "ppo, iteration 5, episode 0", "textworld:quest?level=2&seed=5"),
        *("won, score 1 of 1, 3 turns , return +1.00, 1 by the expert", "There is a lamp.", "You take the lamp."),
        *("go east 75.0% +0.25", "> go east reward 0, score 0 of 1, v +0.50, advantage +0.125 played by the expert"),
        *('" fine" 36.8% +0.25 +0.50', '" time" 60.7% +0.75 -0.25'),
    ):
        assert part in words
    assert "http" not in (tmp_path / "p.html").read_text().replace("http-equiv", ""), "nothing is loaded"


def test_a_markdown_page_shows_every_turn(tmp_path: Path) -> None:
    text = page(tmp_path / "p.md", *(Entry(iteration=0, episode=episode) for episode in (QUEST, WRITTEN)))
    assert "## ppo, iteration 1, episode 0: textworld:quest?level=2\\&seed=5" in text
    assert text.count("### Turn ") == 4
    assert "| ▶ go east | ███████████████ | 75.0% | +0.25 |" in text
    assert "**\\> go east** reward 0, score 0 of 1, v +0.50, advantage +0.125 (played by the expert)" in text
    assert '| " time" | ████████████ | 60.7% | +0.75 | -0.25 |' in text


def hostile() -> Entry:
    token = GeneratedToken(HOSTILE, 1e300, -1e308, None)
    decision = Decision(command=HOSTILE, probabilities={HOSTILE: 1e300, "<b>": -1.0}, q_values={HOSTILE: 1e308})
    steps = (
        replace(QUEST.steps[0], observation=HOSTILE, decision=decision, reward=-1e308),
        replace(QUEST.steps[0], observation=HOSTILE, decision=replace(decision, tokens=(token,)), reward=1e308),
    )
    return Entry(
        iteration=0, episode=replace(QUEST, game=HOSTILE, steps=steps, final_observation=HOSTILE, error=HOSTILE)
    )


@pytest.mark.parametrize("suffix", ["html", "md"])
def test_q_of_a_command_that_is_hardly_played_is_in_brackets(tmp_path: Path, suffix: str) -> None:
    pages = []
    for number, rare in enumerate((0.01, 0.009)):
        probabilities, q_values = {"go": 1 - rare, "wait": rare}, {"go": 1.0, "wait": 0.5}
        decision = Decision(command="go", probabilities=probabilities, q_values=q_values)
        steps = (replace(QUEST.steps[0], decision=decision),)
        entry = Entry(iteration=0, episode=replace(QUEST, steps=steps))
        pages.append(page(tmp_path / f"{number}.{suffix}", entry))
    assert "+0.50" in pages[0] and "(+0.50)" not in pages[0] and "hardly trained" not in pages[0]
    assert "(+0.50)" in pages[1] and "(+1.00)" not in pages[1] and "(q): p below 1%, hardly trained" in pages[1]


def test_texts_are_escaped_in_html(tmp_path: Path) -> None:
    found = Parts(page(tmp_path / "p.html", hostile()))
    plain = Parts(page(tmp_path / "q.html", Entry(iteration=0, episode=replace(QUEST, steps=QUEST.steps[:2]))))
    assert set(found.tags) == set(plain.tags) and found.attributes == plain.attributes
    assert found.text.count("<script>alert(1)</script>") >= 6 and "{{ 7*7 }}" in found.text
    assert all(character.isprintable() or character == "\n" for character in found.text)


def test_texts_are_escaped_in_markdown(tmp_path: Path) -> None:
    text = page(tmp_path / "p.md", hostile())
    outside = re.sub(r"(?ms)^(`{3,})text\n.*?^\1$", "", text)
    assert not re.search(r"(?<!\\)[<&\[]", outside), "neither HTML nor links"
    assert re.findall(r"(?m)^#.*", outside) == [
        line for line in outside.splitlines() if line.startswith(("# 1 episode", "## ppo", "### Turn"))
    ]
    assert text.count("\n````text\n") == 3, "a fence is longer than any in the text"
    assert all(character.isprintable() or character == "\n" for character in text)


@pytest.mark.parametrize("suffix", ["html", "md"])
def test_an_episode_without_turns_has_a_page(tmp_path: Path, suffix: str) -> None:
    entry = Entry(iteration=0, episode=replace(QUEST, steps=()))
    assert "You take the lamp." in page(tmp_path / f"p.{suffix}", entry)
