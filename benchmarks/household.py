"""A small game for ALFWorld's domain: put a clean apple in the fridge.

The problem is our own. The domain and the texts are those of the package alfworld (MIT licence, Shridhar et al., 2021;
https://arxiv.org/abs/2010.03768), whose own games must be downloaded.
"""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PROBLEM = """
(define (problem household)
  (:domain alfred)
  (:objects
    agent1 - agent
    door middle window corner wall - location
    CounterTop_bar_1 CounterTop_bar_2 Fridge_bar_1 Sink_bar_1_bar_SinkBasin - receptacle
    Apple_bar_1 Apple_bar_2 Mug_bar_1 - object
    CounterTopType FridgeType MicrowaveType SinkBasinType - rtype
    AppleType ButterKnifeType KnifeType MugType - otype)
  (:init
    (= (total-cost) 0)
    (atLocation agent1 door)
    (receptacleAtLocation CounterTop_bar_1 middle) (receptacleType CounterTop_bar_1 CounterTopType)
    (receptacleAtLocation CounterTop_bar_2 window) (receptacleType CounterTop_bar_2 CounterTopType)
    (receptacleAtLocation Fridge_bar_1 corner) (receptacleType Fridge_bar_1 FridgeType)
    (receptacleAtLocation Sink_bar_1_bar_SinkBasin wall) (receptacleType Sink_bar_1_bar_SinkBasin SinkBasinType)
    (openable Fridge_bar_1)
    (canContain CounterTopType AppleType) (canContain FridgeType AppleType) (canContain SinkBasinType AppleType)
    (canContain CounterTopType MugType) (canContain SinkBasinType MugType)
    (objectType Apple_bar_1 AppleType) (pickupable Apple_bar_1) (cleanable Apple_bar_1)
    (objectType Apple_bar_2 AppleType) (pickupable Apple_bar_2) (cleanable Apple_bar_2)
    (objectType Mug_bar_1 MugType) (pickupable Mug_bar_1)
    (inReceptacle Apple_bar_1 CounterTop_bar_1) (objectAtLocation Apple_bar_1 middle)
    (inReceptacle Apple_bar_2 Fridge_bar_1) (objectAtLocation Apple_bar_2 corner)
    (inReceptacle Mug_bar_1 CounterTop_bar_1) (objectAtLocation Mug_bar_1 middle))
  (:goal (exists (?r - receptacle ?o - object)
    (and (inReceptacle ?o ?r) (receptacleType ?r FridgeType) (objectType ?o AppleType) (isClean ?o))))
  (:metric minimize (total-cost)))
"""
NAME = "household.tw-pddl"
TASK = "put a clean apple in fridge"


def content() -> dict[str, Any]:
    """Return the content of the game's `.tw-pddl` file. It has no walkthrough."""
    package = find_spec("alfworld")
    assert package is not None and package.submodule_search_locations, "pip install --no-deps alfworld"
    data = Path(package.submodule_search_locations[0]) / "data"
    return {
        "pddl_domain": (data / "alfred.pddl").read_text(),
        "pddl_problem": PROBLEM,
        "grammar": (data / "alfred.twl2").read_text().replace("UNKNOWN GOAL", TASK),
        "solvable": True,
        "walkthrough": None,
    }


def write(path: Path, **changes: Any) -> Path:
    """Write the game to `path`, with `changes` to the values of some keys. Return `path`."""
    path.write_text(json.dumps({**content(), **changes}))
    return path
