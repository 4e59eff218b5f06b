"""Write the report on the comparison of learners."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from experiments.compare.intervals import ABOVE_0, ANY, RATE, Range, holm, mean_over_runs, paired_p
from experiments.offline.contrasts import CONTRASTS, SEEDS, TUNING_SEED, Contrast
from experiments.offline.tasks import LEARNERS, PRIOR, TASKS, Task
from experiments.tables import interval, table

# Head of a column, range of its quantity, and whether rates of 0 and 1 have an exact interval
COLUMNS: Mapping[str, tuple[str, Range, bool]] = {
    "won": ("won, sampled", RATE, True),
    "won_greedy": ("won, greedy", RATE, True),
    "score": ("score", RATE, True),
    "reward": ("reward", ANY, False),
    "bonus": ("turns on the bonus", RATE, True),
    "wanting_0": ("score if a return of 0 is wanted", RATE, True),
    "kl": ("KL to pi_0", ABOVE_0, False),
    "text_kl": ("KL to pi_0, per token", ABOVE_0, False),
    "entropy": ("entropy", ABOVE_0, False),
}
TEXT_MEASURES = {"won": "reward", "kl": "text_kl"}  # measures of contrasts if the agents write texts
SOURCES = {"prior": "recorded play", "data": "recorded play", "scratch": "recorded play", "own": "own play"}
TEXT = """# Learners of recorded play

    python -m experiments.offline --out docs/offline  # 23 to 34 min of a core a task, completions 2 to 3 h

{measured} of {tasks} tasks are measured so far. All use the small trunk (0.9 million parameters), except completions,
which SmolLM2 writes; their section states how their settings differ from the following.

Learners of recorded play have equal data: they draw the same number of episodes from the same recorded play. Learners
of their own play have an equal number of own episodes. All but `decision` start from {prior}, which imitates all
recorded play. `decision` needs a prompt of its own, so it starts from the trunk's initial weights and draws as many
episodes as {prior} and a learner of recorded play together.

* `imitation` imitates all recorded play for longer. `filtered imitation` imitates won episodes and the best 5% of each
  game. `rejection by transition` imitates the 16 actions of each rollout with the highest discounted returns.
* `monte carlo` is `imitation` that plays guided by a q that is fitted to the returns of the data. `ilql` plays guided
  by a q that is fitted to the best recorded continuation.
* `rejection` imitates won episodes and the best 5% of its own play. `guided pi_0` trains only q, by its own play, and
  plays the frozen {prior} guided by q.

Seeds {seeds}. The settings were chosen on seed {tuning}, except those of `actde`, which were chosen on seeds 100 to
102 after those of `actde with the q of pi_0`, its first ones, had failed on Text-Nav on the seeds of this report. The
two differ in the start of q, its rate, its form, its number of heads and its warm-up. A mean over seeds has a 95%
interval (Student's t, clipped to the range of the quantity). If all seeds won all or no episodes, it is Clopper and
Pearson's, which counts seeds and not episodes. If all seeds have the same other value, there is none. Evaluations have
{episodes} sampled and {episodes} greedy episodes for each seed. Entropy and the KL to {prior} are exact over the
commands, in nats per decision, averaged over the states that the sampled agent visits. The settings of every run are in
`experiments/offline/tasks.py`. `ppo as actde` is the control of `actde`: it trains q as well, and differs only in its
baseline, v. Its settings were chosen for `actde`. `ppo` has other settings, such as a rate of 1e-3 instead of 3e-4, an
epsilon of AdamW of 1e-3 instead of 1e-8, and four rollouts of warm-up.

The contrasts (`experiments/offline/contrasts.py`) were fixed before the first run of these seeds, except those of
`actde`: the contrast between its two settings was added after the failure, and those with `ppo as actde` after the runs
of `actde` and `ppo` on the first four tasks. The p-values are from paired t-tests, corrected by Holm's procedure for
all contrasts of a task. Corrected for all {contrasts} contrasts of all tasks, the smallest is {smallest}.

{sections}"""
REFERENCES: Mapping[str, str] = {  # other people's numbers
    "textnav": """LMRL-Gym (Abdulhai et al., 2023) reports 0.88 for ILQL and 0.81 for PPO on its own Text-Nav, fully
observed. Its setting differs: the trunk is GPT-2 small, with 124 million parameters instead of 0.9, and writes its
commands as text. The text of a state lists the admissible commands, without `examine`, `look` and `inventory`. In its
published code, an episode has at most 15 commands, and the recorded players act randomly or, in some rooms, follow the
shortest way. The house is not ours, whose map, furniture and turn limit are our choice, and the start room is random.
Here, recorded and own play start in five rooms, and evaluations in four others.""",
}
SETTINGS: Mapping[str, str] = {  # differences from the settings that `TEXT` describes
    "completion": """How this task differs: `pi_0` is the bare model, not an imitator, and its play is the recorded
play. The weight of q in the play of `monte carlo` and `ilql` is 8. It was chosen among 1, 4, 8 and 32 on seed 100,
where ILQL wrote no language at 32 (7.7 nats of KL per token, a reward of -0.01). All other settings were fixed before
the runs, those of `actde` after the [confirmation](../rlhf/confirmation.md). `actde`, `ppo as actde`, `ppo` and
`rejection by transition` treat a text as one action, and all other learners each token. `ppo` differs from `ppo as
actde` only in that it trains no q. `actde with the q of pi_0` was not run. A text earns VADER's score, from -1 to 1,
which is not scaled. Entropy is in nats per text.""",
}
FINDINGS: Mapping[str, str] = {
    "textnav": """What this shows, with three seeds and wide intervals:

* No contrast is significant after the correction.
* **ILQL disappoints**: 0.50, below filtered imitation (0.94) and below the simpler `monte carlo` (0.73). It won 0.34,
  0.30 and 0.86. The won episodes of these data are expert episodes, so selecting them is enough, and no halves need
  to be stitched. On the tuning seed, with `--guide-beta 8`, ILQL won all of 50 episodes from the start rooms of its
  data, and 0.76 from the others.
* **ACTDE depends on the start and the settings of q.** It was run first with the q of `pi_0`, and won 0.08, less than
  `pi_0` (0.36). Its settings were then chosen again, on seeds 100 to 102. With a q that is v plus a difference that
  starts at 0 (`--reset-q`), it wins 0.85, near PPO (0.90) and rejection of own play (0.93), and more than before in
  each seed. On seeds 100 to 102, with three rates of q from 1e-4 to 1e-2, it wins 0.56 to 0.94 in each of nine runs. A
  q that starts at 0 without v wins 0.02 to 0.06. If `pi_0` has learned the difference, ACTDE wins 0.74 to 0.86 at a
  rate of 1e-2, and 0.00 at 1e-4 (`NOTES.md`).
* PPO with the same settings as ACTDE wins 0.92, at 0.54 nats from `pi_0` (ACTDE: 0.85, at 0.45).
* **MPO** won less than PPO in each seed (0.71 and 0.90), and stays nearer to `pi_0` (0.15 and 0.49 nats). `guided
  pi_0`, which never trains the policy, wins as much as MPO (0.74).
* **`decision` follows the wanted return**: 0.76 of the maximum if it wants 1, and 0.03 if it wants 0. It imitates the
  same data as `pi_0` and `imitation`, which win 0.36 and 0.40.
* After the first run of seed 0, the settings of `rejection by transition` were corrected once: the preset for `--init`
  had left its first four rollouts without an update of the policy. That run won 0.76, and its repetition 0.98.""",
    "simple": """What this shows, with three seeds:

* `pi_0` wins all games if it plays its likeliest command and 0.21 if it samples, because four of five recorded episodes
  are random play.
* **ACTDE depends on the start and the settings of q**, as on Text-Nav, and here the contrast is significant: 0.85 with
  a q that starts as v, 0.03 with the q of `pi_0`. PPO with the same settings wins 0.98 and stays nearer to `pi_0` than
  ACTDE in each seed (0.43 and 0.78 nats).
* **ILQL and `monte carlo`** win nearly all games, as filtered imitation does. The won episodes of the data are those of
  the expert, which repeats one episode.
* **MPO** wins less than PPO in each seed (0.89 and 0.98), nearer to `pi_0` (0.18 and 0.34 nats). `guided pi_0`, which
  never trains the policy, wins 0.97.
* `rejection by transition` scores high and rarely wins. `rejection` of own play hardly moves from `pi_0`, because few
  of its episodes are won.""",
    "coin": """What this shows, with three seeds and wide intervals:

* No contrast is significant. The wins of ACTDE and of PPO with the same settings do not differ measurably (0.77 and
  0.78; difference -0.01, -0.19 to 0.18). ACTDE stays nearer to `pi_0` in each seed (0.33 and 0.49 nats).
* With the q of `pi_0`, ACTDE wins 0.13, less than `pi_0` (0.29), as on Text-Nav and `simple`.
* ILQL wins 0.62, filtered imitation 0.66; the difference is open (-0.56 to 0.48).
* **MPO** and `guided pi_0` stay nearest to `pi_0` (0.07 and 0.09 nats). MPO wins less than PPO in each seed (0.45 and
  0.74).
* **`decision`** wins 0.41 with a target return of 1, and 0.07 with one of 0.""",
    "quest": """What this shows, with three seeds:

* **ACTDE stays nearer to `pi_0` than PPO with the same settings**: 0.40 and 0.64 nats, a difference of -0.24 (-0.30 to
  -0.18). This contrast is significant within this task. The wins do not differ measurably (0.76 and 0.74; difference
  0.02, -0.29 to 0.33). PPO with its own settings wins 0.76, at 0.75 nats.
* MPO wins less than PPO (0.50 and 0.76), also significant within this task, at 0.11 nats from `pi_0`. It won exactly
  half of the episodes of each seed, by chance, so the interval of this contrast is too narrow.
* With the q of `pi_0`, ACTDE wins 0.39, near `pi_0` (0.33).
* **ILQL** wins 0.31, no more than `pi_0`, and ends farthest from it (1.04 nats, as `monte carlo`). Filtered imitation
  of the same data wins 0.65.
* **`decision`** wins 0.63 with a target return of 1, and 0.12 with one of 0.""",
    "gamed": """What this shows, with three seeds:

* **PPO and ACTDE are gamed.** `ppo`, `ppo as actde` and `actde` win nothing, and play `look` in at least 98% of their
  turns. With the q of `pi_0`, ACTDE plays it in 27% to 54% and wins 0.01.
* **Learners that imitate won episodes are not**: filtered imitation wins 0.65 with 6% of its turns on the bonus,
  `rejection` of own play wins 0.45 with 5%. Their filter keeps won episodes. Whether an episode is won is no part of
  the reward, so the filter uses information that the others lack.
* Learners that follow a q, and MPO, lie between: 30% to 79% of the turns on the bonus in each run, and 0 to 0.28 won.
  MPO stays nearest to `pi_0` (0.14 nats).
* `rejection by transition` takes the bonus in about half of its turns.""",
    "completion": """What this shows, with three seeds of 50 texts each:

* **PPO, ACTDE and `rejection` of own play learn the task**: 0.95, 0.88 and 1.00 of at most 1. Of the learners of
  recorded play, only filtered imitation gets far from `pi_0` (0.31 instead of 0.06). The recorded play is that of
  `pi_0`, so it shows them no better policy.
* **ACTDE earns less than PPO with the same settings** in each seed (0.88 and 0.96; difference -0.08, -0.13 to -0.03),
  and stays nearer to `pi_0` in each seed (1.46 and 1.95 nats; difference -0.48, -1.02 to 0.05). Neither contrast is
  significant (p 0.05 and 0.06), and the rewards differ; the confirmation compares both at equal reward.
* **`rejection` collapses most**: its texts have 0.1 to 6.2 nats of entropy, those of PPO 37 to 41. It imitates the best
  one or two texts of each rollout.
* **Learners that follow q hardly leave `pi_0`**: MPO (0.13, at 0.01 nats) and `guided pi_0` (0.06, at 0.02 nats). MPO
  earns less than PPO (-0.82, -0.95 to -0.70; significant). On such texts, q predicts little beyond v
  ([fit](../rlhf/fit.md)).
* **ILQL** earns 0.04, less than filtered imitation (-0.28, -0.38 to -0.17; significant within this task), although it
  moves by 0.1 to 1.4 nats.
* `decision` earns 0.09 with the best return of its data as target, 0.05 with a target of 0, and `imitation` 0.02.""",
}
EPISODES = 50  # episodes of an evaluation in each mode
Numbers = Mapping[str, Mapping[str, Any]]  # the numbers of a learner's runs, by seed


def report(cells: Mapping[str, Numbers]) -> str:
    runs_of = {task: {learner: cells.get(f"{task}, {learner}", {}) for learner in LEARNERS} for task in TASKS}
    p_values = [p for runs in runs_of.values() for *_, p in _test_contrasts(runs)]
    return TEXT.format(
        prior=f"`{PRIOR}`",
        seeds=", ".join(map(str, SEEDS)),
        tuning=TUNING_SEED,
        episodes=EPISODES,
        measured=len({name.partition(", ")[0] for name, runs in cells.items() if runs}),
        tasks=len(TASKS),
        contrasts=len(p_values),
        smallest=f"{min(holm(p_values), default=1.0):.2g}",
        sections="\n".join(_section(name, task, runs_of[name]) for name, task in TASKS.items()),
    )


def _section(name: str, task: Task, runs: Mapping[str, Numbers]) -> str:
    runs = {learner: by_seed for learner, by_seed in runs.items() if learner not in task.without}
    if not any(runs.values()):
        return f"## {task.title}\n\n`{task.game}`: not measured yet.\n"
    prior_play, offline, own_play = (
        settings["episodes"] * settings["iterations"] for settings in (task.prior, task.offline, task.own)
    )
    source = (
        f"Recorded play: `--data {task.data}`, of which `{PRIOR}` draws {prior_play} episodes."
        if task.data
        else f"`{PRIOR}` plays {prior_play} episodes with an unchanged policy, which are the recorded play."
    )
    turns = "1 turn" if task.common["max_turns"] == 1 else f"{task.common['max_turns']} turns"
    description = (
        f"`{task.game}`, at most {turns}. {source} A learner of recorded play draws {offline}"
        f" episodes, with repetitions. A learner of its own play plays {own_play} episodes."
    )
    notes = (texts.get(name, "") for texts in (REFERENCES, FINDINGS))
    paragraphs = (f"## {task.title}", description, SETTINGS.get(name, ""), _table(runs), _contrasts(runs), *notes)
    return "\n\n".join(filter(None, paragraphs)) + "\n"


def _table(runs: Mapping[str, Numbers]) -> str:
    all_numbers = [numbers for by_seed in runs.values() for numbers in by_seed.values()]
    columns = [name for name in COLUMNS if any(name in numbers for numbers in all_numbers)]
    if "reward" in columns and all(numbers.get("score") == numbers.get("reward") for numbers in all_numbers):
        columns.remove("score")
    lines = [
        [
            learner,
            SOURCES[LEARNERS[learner].kind],
            _seed_count(by_seed),
            *(_cell(learner, by_seed, column) for column in columns),
        ]
        for learner, by_seed in runs.items()
    ]
    return table(["learner", "learns from", "seeds", *(COLUMNS[name][0] for name in columns)], lines)


def _seed_count(by_seed: Numbers) -> str:
    diverged = sum("error" in numbers for numbers in by_seed.values())
    return f"{len(by_seed)}" + (f", {diverged} diverged" if diverged else "")


def _cell(learner: str, by_seed: Numbers, column: str) -> str:
    if not by_seed:
        return "not measured yet"
    if column == "kl" and LEARNERS[learner].kind in ("prior", "scratch"):
        return "0" if learner == PRIOR else "-"  # the stored KL is that to the random weights
    _, value_range, exact_ends = COLUMNS[column]
    return _mean([numbers[column] for numbers in by_seed.values() if column in numbers], value_range, ends=exact_ends)


def _test_contrasts(runs: Mapping[str, Numbers]) -> list[tuple[Contrast, str, list[float], float]]:
    """Test each contrast that has two or more seeds. Return tuples (contrast, measure, differences, p-value)."""
    texts = any("text_kl" in numbers for by_seed in runs.values() for numbers in by_seed.values())
    tested: list[tuple[Contrast, str, list[float], float]] = []
    for contrast in CONTRASTS:
        measure = TEXT_MEASURES[contrast.measure] if texts else contrast.measure
        first, second = (
            {seed: numbers[measure] for seed, numbers in runs.get(name, {}).items() if measure in numbers}
            for name in (contrast.first, contrast.second)
        )
        differences = [first[seed] - second[seed] for seed in first if seed in second]
        if len(differences) > 1:
            tested.append((contrast, measure, differences, paired_p(differences)))
    return tested


def _contrasts(runs: Mapping[str, Numbers]) -> str:
    tested = _test_contrasts(runs)
    lines = [
        [
            COLUMNS[measure][0],
            f"{contrast.first} - {contrast.second}",
            len(differences),
            _mean(differences, (-1.0, 1.0) if measure == "won" else ANY),
            f"{p:.2g}",
        ]
        for (contrast, measure, differences, _), p in zip(tested, holm([p for *_, p in tested]), strict=True)
    ]
    return table(["measure", "contrast", "seeds", "difference", "p (Holm)"], lines) if lines else ""


def _mean(values: Sequence[float], value_range: Range, *, ends: bool = False) -> str:
    estimate = mean_over_runs(values, value_range, clopper_pearson=ends)
    return "" if estimate is None else interval(asdict(estimate))
