"""Batches, targets and outputs refuse tensors that do not fit."""

import re
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest
import torch

from actde import Batch, OptimizerError, Outputs, Targets
from tests.helpers.actde_batches import changed, random_batch, random_outputs

BATCH = random_batch(0, [3, 1, 4])
NAMES = [spec.name for spec in fields(Batch) if spec.name not in ("episodes", "groups")]  # the tensors [B, T]


def with_(record: Any, **values: Any) -> Any:
    return type(record)(**({spec.name: getattr(record, spec.name) for spec in fields(record)} | values))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(3, 5), (4,), (3, 1), (1, 4), (3, 4, 1)])
def test_a_batch_refuses_every_shape_that_would_broadcast(name: str, shape: tuple[int, ...]) -> None:
    kind = torch.bool if name == "mask" else torch.float64
    with pytest.raises(ValueError, match=r"must be \[.*, got \["):
        with_(BATCH, **{name: torch.ones(shape, dtype=kind)})


@pytest.mark.parametrize("name", [name for name in NAMES if name != "mask"])
@pytest.mark.parametrize("kind", [torch.int64, torch.bool, torch.float16, torch.bfloat16])
def test_a_batch_refuses_integers_and_half_precision(name: str, kind: torch.dtype) -> None:
    with pytest.raises(ValueError, match=f"Batch.{name} must be float32 or float64, got {kind}"):
        with_(BATCH, **{name: torch.ones(3, 4, dtype=kind)})


@pytest.mark.parametrize("name", [name for name in NAMES if name != "mask"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_named_with_their_place(name: str, bad: float) -> None:
    tensor = getattr(BATCH, name).clone()
    tensor[2, 1] = bad
    with pytest.raises(OptimizerError, match=f"{name} is {bad} at segment 2, choice 1"):
        with_(BATCH, **{name: tensor})


def test_a_batch_refuses_gaps_left_padding_and_numeric_masks() -> None:
    for row in ([True, False, True, False], [False, True, True, True]):
        with pytest.raises(ValueError, match="padded on the right"):
            with_(BATCH, mask=torch.tensor([row] * 3))
    with pytest.raises(ValueError, match=r"mask must be bool, got torch.float64"):
        with_(BATCH, mask=BATCH.mask.double())


@pytest.mark.parametrize("bad", [-0.1, 1.1])
def test_a_discount_lies_between_0_and_1(bad: float) -> None:
    with pytest.raises(ValueError, match=r"discounts must lie in \[0, 1\]"):
        with_(BATCH, discounts=torch.full((3, 4), bad))


def test_recorded_numbers_carry_no_gradient() -> None:
    with pytest.raises(ValueError, match="values was recorded in the rollout: detach its gradient"):
        with_(BATCH, values=BATCH.values.clone().requires_grad_())
    with pytest.raises(ValueError, match="target_q_values is a fixed target"):
        with_(random_outputs(BATCH), target_q_values=torch.ones(3, 4, requires_grad=True))


def test_a_value_that_is_no_tensor_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="rewards must be a tensor, got list"):
        with_(BATCH, rewards=[[1.0]])


def test_only_q_of_the_outputs_has_a_dimension_of_heads() -> None:
    outputs = random_outputs(BATCH)
    for shape in ((3, 4), (3, 4, 0), (3, 5, 2), (4, 3, 2)):
        with pytest.raises(ValueError, match=re.escape("q_values must be [3, 4, 'H']")):
            with_(outputs, q_values=torch.ones(shape))
    with pytest.raises(ValueError, match=re.escape("entropy must be [3, 4]")):
        with_(outputs, entropy=torch.ones(3, 4, 2))
    with pytest.raises(ValueError, match=r"\[B, T\] with B, T >= 1"):
        Outputs(logprobs=torch.ones(0, 4), entropy=torch.ones(0, 4), values=torch.ones(0, 4))


def test_targets_refuse_a_silent_broadcast() -> None:
    with pytest.raises(ValueError, match=re.escape("returns must be [3, 4] like advantages, got [3, 1]")):
        Targets(advantages=torch.ones(3, 4), returns=torch.ones(3, 1))


def test_records_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        BATCH.rewards = torch.ones(3, 4)  # type: ignore[misc]


def test_rows_select_segments_of_every_field() -> None:
    rows = torch.tensor([2, 0])
    part = BATCH[rows]
    assert (len(BATCH), len(part)) == (3, 2)
    changed(part, lambda name, tensor: _equal(tensor, getattr(BATCH, name)[rows]))
    assert random_batch(0, [2], q=False)[torch.tensor([0])].q_values is None


def _equal(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    assert torch.equal(found, wanted)
    return found


@pytest.mark.parametrize("rows", [0, slice(0, 2), torch.tensor(0), torch.tensor([True, False, True])])
def test_rows_are_a_tensor_of_indices(rows: Any) -> None:
    with pytest.raises(TypeError, match="rows must be an int64 tensor of one dimension"):
        BATCH[rows]


def test_settings_and_names_need_no_torch() -> None:
    code = (
        "import sys, actde; actde.OptimizerConfig(); assert 'ppo' in actde.optimizer_names(); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_public_names_exist_and_others_do_not() -> None:
    import actde

    assert all(hasattr(actde, name) for name in actde.__all__)
    assert set(actde.__all__) == set(dir(actde)) == set(actde._MODULE_OF)
    assert not hasattr(actde, "Nothing")
