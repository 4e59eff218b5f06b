"""The one-player games of TextArena (Guertler et al., 2025; https://arxiv.org/abs/2504.11442)."""

import contextlib
import io
import random
import threading
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from games.base import StepResult
from games.errors import GameError, first_line
from games.parameters import Parameter
from games.suites.base import SuiteGame

PARAMETERS = (
    Parameter(name="seed", kind="int", low=0, high=2**31 - 1, help="seed of each episode [drawn for each]"),
    Parameter(name="choices", kind="words", help="the admissible commands, joined by commas"),
)
MAX_TURNS = 200  # TextArena's own limits are lower
SYMBOLS = "".join(map(chr, (*range(0xA0, 0x180), *range(0x2000, 0x2C00), *range(0x1F300, 0x1FB00))))
NLTK_DATA = "words averaged_perceptron_tagger_eng"
_LOCK = threading.Lock()  # held while a game uses Python's global random generator


class TextArena(SuiteGame):
    """A one-player game of TextArena. The reward is 0 until the game ends. A last reward of 1 wins."""

    @classmethod
    @lru_cache(maxsize=1)
    def names(cls) -> Sequence[str]:
        """Return the ids of the one-player games, without the variants `-raw` and `-train`."""
        with _silence():  # during its import, NLTK chooses the stream of all its later errors
            import textarena
            from textarena.envs.registration import ENV_REGISTRY

        folder = Path(textarena.__file__).parents[1]
        modules = {name: str(spec.entry_point).partition(":")[0] for name, spec in ENV_REGISTRY.items()}
        one_player = {
            ".".join(path.relative_to(folder).with_suffix("").parts)
            for path in folder.glob("textarena/envs/*/*.py")
            if "SinglePlayerState" in path.read_text("utf-8")
        }
        return tuple(
            name for name, module in modules.items() if module in one_player and not name.endswith(("-raw", "-train"))
        )

    @classmethod
    def parameters_of(cls, name: str) -> tuple[Parameter, ...]:
        return PARAMETERS

    def __init__(
        self,
        name: str,
        *,
        seed: int | None = None,
        choices: Sequence[str] = (),
        max_turns: int | None = None,
        infos: Sequence[str] = (),
        render_mode: str | None = None,
    ) -> None:
        limit = MAX_TURNS if max_turns is None else max_turns
        super().__init__(max_turns=limit, characters=SYMBOLS, render_mode=render_mode)
        if not all(choice.strip() and choice.isprintable() for choice in choices):
            raise GameError(
                f"textarena:{name}: expected choices of printable characters, none blank, got {','.join(choices)!r}"
            )
        self._name, self._seed, self._choices = name, seed, tuple(dict.fromkeys(choices))
        self._random = random.Random(0).getstate()
        import textarena

        with self._own_random():
            self._env = textarena.make(name)
        self._inner = self._env  # without the wrappers, which repeat all earlier messages
        while isinstance(self._inner, textarena.Wrapper):
            self._inner = self._inner.env

    @contextlib.contextmanager
    def _own_random(self) -> Iterator[None]:
        """Inside the `with` block, give Python's global random generator this game's state."""
        with _LOCK, _silence(), _no_downloads():
            global_state = random.getstate()
            random.setstate(self._random)
            try:
                yield
            except LookupError as error:
                reason = f"textarena:{self._name} needs NLTK data, which is not installed"
                raise GameError(f"{reason}; run: python -P -m nltk.downloader {NLTK_DATA}") from error
            except (SyntaxError, ValueError) as error:
                raise GameError(f"textarena:{self._name} failed: {first_line(error)}") from error
            finally:
                self._random = random.getstate()
                random.setstate(global_state)

    def _start(self, options: dict[str, Any]) -> StepResult:
        seed = int(self.np_random.integers(2**31)) if self._seed is None else self._seed
        with self._own_random():
            self._env.reset(num_players=1, seed=seed)
        messages = self._messages()
        self._objective = messages[0] if messages else ""
        return self._result("\n".join(messages))

    def _play(self, command: str) -> StepResult:
        with self._own_random():
            over, _ = self._env.step(command)
        if not over:
            return self._result("\n".join(self._messages()))
        rewards, info = self._env.close()
        # after an invalid move, some games return the reason in place of the reward
        reward = float(rewards[0]) if isinstance(rewards[0], int | float) else 0.0
        reason = str(info[0].get("reason") or "")
        result = self._result("\n".join((*self._messages(), reason)))
        result.reward, result.won, result.lost, result.terminated = reward, reward >= 1, reward < 1, True
        return result

    def _messages(self) -> list[str]:
        """Return the game's messages since the last call."""
        from textarena import GAME_ID

        _, messages = self._inner.get_observation()
        return [text.strip() for sender, text, _ in messages if sender == GAME_ID]

    def _result(self, text: str) -> StepResult:
        info = {"max_score": 1.0, "objective": self._objective}
        return StepResult(text=text.strip(), commands=self._choices, info=info)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


@contextlib.contextmanager
def _no_downloads() -> Iterator[None]:
    """Prevent the NLTK downloads that some games start during import."""
    import nltk

    download = nltk.download
    nltk.download = lambda *words, **options: False
    try:
        yield
    finally:
        nltk.download = download
