"""The code of TextWorld and Jericho that `games/textworld/upstream/` patches, bypasses or replaces is what it was.

After an update of a package: compare our module with the changed source, run the other tests of this folder and
`python -m benchmarks.textworld_exact`, then change the versions and hashes here and in `games/textworld/upstream/`.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
from functools import reduce
from importlib.metadata import version

import pytest

from games.textworld import upstream

VERSIONS = {"textworld": "1.7.0", "jericho": "3.3.1"}
PINS = {
    "start": {
        "textworld.logic:GameLogic.load": "44fdc252a0243937",
        "textworld.logic:GameLogic._parse": "13771a877cafed56",
        "textworld.logic:_parse_and_convert": "4d0401d024e4b974",
        "textworld.helpers:start": "d2475b56ccd1c15b",
        "textworld.core:Wrapper": "375b72d7a8d26b1d",
        "textworld.envs.zmachine.jericho:JerichoEnv": "c8ce58672b7ada8e",
        "textworld.envs.wrappers.tw_inform7:_detect_extra_infos": "60348a5429e1d8bf",
        "textworld.envs.wrappers.tw_inform7:_detect_i7_events_debug_tags": "108ec898a2fd348a",
        "textworld.envs.wrappers.tw_inform7:TWInform7": "2b81896d25147ab6",
        "textworld.envs.wrappers.tw_inform7:GameData": "fc84422bc3c4aa15",
        "textworld.envs.wrappers.tw_inform7:Inform7Data": "bca658a901b49432",
        "textworld.envs.wrappers.tw_inform7:StateTracking": "35222efca77d6002",
        "textworld.generator.inform7.world2inform7:Inform7Game._get_name_mapping": "947e7176d9079798",
    },
    "compile": {
        "textworld.generator.inform7.world2inform7:compile_inform7_game": "cb024c2565c29156",
    },
    "fast_chaining": {
        "textworld.generator.chaining:_Chainer": "9f0d45406237b3ed",
        "textworld.generator.chaining:_PartialAction": "7014cce54951ab58",
        "textworld.generator.chaining:ChainingOptions.check_action": "f25a4cfd0f4b7728",
    },
    "rule_simulation": {
        "textworld.generator.maker:GameMaker.set_walkthrough": "976ab018cf7e4808",
        "textworld.generator.inform7.world2inform7:Inform7Game.gen_commands_from_actions": "1307c6170baf2fe8",
        "textworld.logic:State.all_applicable_actions": "874d70513c314360",
    },
    "opcodes": {
        "jericho.jericho:_load_frotz_lib": "47adcd090f06bd49",
        "jericho.jericho:FrotzEnv.__init__": "0c652721535cb5de",
        "jericho.jericho:FrotzEnv._emulator_halted": "f6f0b251f8aed0c8",
    },
    "interpreter": {
        "jericho.jericho:FrotzEnv.get_state": "1981e9909a04745a",
        "jericho.jericho:FrotzEnv.set_state": "a146b843e920704b",
        "jericho.jericho:FrotzEnv.reset": "bd145088ec4a4a91",
        "jericho.jericho:FrotzEnv.step": "4b5c670954204bbd",
    },
    "rule_matching": {
        "textworld.logic:State.all_assignments": "2f009deac3569452",
        "textworld.logic:State._all_applicable_assignments": "91b8f7e76f9ffa85",
        "textworld.logic:State.all_instantiations": "2ebcc76b37ed2290",
        "textworld.logic:TypeHierarchy.multi_subtypes": "d2789928a5435f5c",
    },
    "quest_progress": {
        "textworld.generator.game:ActionDependencyTreeElement": "800019ebf2535ebc",
        "textworld.generator.game:ActionDependencyTree": "25d2714850c29751",
        "textworld.generator.game:EventProgression": "3841a1bb2beaee53",
        "textworld.generator.game:QuestProgression": "cf04e152ba59ff40",
        "textworld.logic:State.is_sequence_applicable": "a4dff6a182374bd8",
    },
    "game_state": {
        "textworld.generator.game:GameProgression": "fb53878f81ea4569",
        "textworld.generator.inform7.world2inform7:Inform7Game.detect_action": "3862bda21d689cca",
        "textworld.logic:State.apply": "ab047e7c10d693c0",
    },
    "pddl_start": {
        "textworld.envs.pddl.pddl:PddlEnv": "cbe984354c9605db",
        "textworld.envs.pddl.textgen:EvalSymbol": "44012ecc030afcd7",
        "textworld.envs.pddl.textgen:copy_context": "ab04ca2ab859dd9e",
        "textworld.envs.pddl.textgen:query": "f7fc025a1b1690b3",
        "textworld.envs.pddl.textgen:_parse_and_convert": "449a494829320c03",
        "textworld.envs.pddl.textgen:ContextSensitiveGrammar": "1ac43726997bb7c1",
        "textworld.logic:Rule.parse_conjunctive_query": "f0c0f15f1edbec89",
    },
}
"""The upstream code that each of our modules depends on, with the first digits of its source's SHA-256."""


@pytest.mark.parametrize("package", VERSIONS)
def test_the_installed_version_was_checked(package: str) -> None:
    assert version(package) == VERSIONS[package]
    assert VERSIONS[package] in str(upstream.__doc__)


@pytest.mark.parametrize(("ours", "name"), [(ours, name) for ours, pins in PINS.items() for name in pins])
def test_the_replaced_source_is_unchanged(ours: str, name: str) -> None:
    module, _, path = name.partition(":")
    source = inspect.getsource(reduce(getattr, path.split("."), importlib.import_module(module)))
    digest = hashlib.sha256(source.encode()).hexdigest()
    assert digest.startswith(PINS[ours][name]), (
        f"{name} has changed: check games/textworld/upstream/{ours}.py against it"
    )
