"""In which order sounds are drawn, and which are held out."""

from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tiny_audio_diffusion.data.order import Balanced, Passes, Plan, own_batches, place, split


def make_plan(**options: Any) -> Plan:
    usual = {"batch_size": 4, "seed": 0, "balance": False, "on_error": "raise", "validation_fraction": 0.1}
    return Plan(**usual | options)


def stream(order: Passes | Balanced, count: int) -> list[int]:
    return [order.at(position)[0] for position in range(count)]


def test_passes() -> None:
    drawn = stream(Passes(7, 3), 28)
    passes = [drawn[start : start + 7] for start in range(0, 28, 7)]
    assert all(sorted(one) == list(range(7)) for one in passes)
    assert passes[0] != passes[1]
    assert drawn == stream(Passes(7, 3), 28)
    assert drawn != stream(Passes(7, 30), 28)
    assert [Passes(7, 3).at(position) for position in (20, 6, 21)] == [(drawn[20], 2), (drawn[6], 0), (drawn[21], 3)]


def test_balanced_classes() -> None:
    labels = [0] * 90 + [1] * 9 + [-1]
    order = Balanced(labels, seed=1)
    drawn = stream(order, 300)
    assert Counter(labels[index] for index in drawn) == {0: 100, 1: 100, -1: 100}
    assert len({index for index in drawn if labels[index] == 0}) == 90  # no sound again before each was drawn
    assert max(Counter(index for index in drawn if labels[index] == 1).values()) == 12  # 100 draws of 9 sounds
    visits = [order.at(position) for position in range(300)]
    assert [visit for index, visit in visits if index == 99] == list(range(100))


@pytest.mark.parametrize("count", [1, 3, 8])
def test_processes_take_turns(count: int) -> None:
    whole = stream(Passes(count, 0), 24)
    parts = []
    for rank in (0, 1):
        plan = make_plan(batch_size=2, rank=rank, world_size=2)
        positions = [position for number in range(6) for position in plan.positions(number)]
        parts.append([whole[position] for position in positions])
    assert parts == [whole[0::2], whole[1::2]]
    if count == 8:
        assert sorted(parts[0][:4] + parts[1][:4]) == list(range(8))


def test_a_plan_goes_on() -> None:
    whole = [position for number in range(6) for position in make_plan().positions(number)]
    later = [position for number in range(3) for position in make_plan(start=12).positions(number)]
    assert whole == list(range(24))
    assert later == whole[12:]
    assert list(islice(own_batches(), 3)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"on_error": "ignore"}, "raise or skip"),
        ({"validation_fraction": 1}, "between"),
    ],
)
def test_wrong_plans(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_plan(**wrong)


def test_split_is_stable() -> None:
    paths = [f"/sounds/{index}.wav" for index in range(400)]
    training, validation = split(paths, list(range(400)), 0.1)
    assert sorted(training + validation) == list(range(400))
    assert 20 <= len(validation) <= 60
    held_out = {Path(paths[index]).name for index in validation}
    elsewhere = [f"/other/place/{index}.wav" for index in range(399, -1, -3)]
    again = {Path(elsewhere[index]).name for index in split(elsewhere, list(range(len(elsewhere))), 0.1)[1]}
    assert again == held_out & {Path(path).name for path in elsewhere}


@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.999])
@pytest.mark.parametrize("count", [2, 3, 9])
def test_split_leaves_no_side_empty(count: int, fraction: float) -> None:
    training, validation = split([f"{index}.wav" for index in range(count)], list(range(count)), fraction)
    assert training
    assert validation
    assert not set(training) & set(validation)


def test_split_keeps_groups_together() -> None:
    names = [f"{index}.wav" for index in range(300)]
    groups = [index % 100 for index in range(300)]
    training, validation = split(names, groups, 0.1)
    assert not {groups[index] for index in training} & {groups[index] for index in validation}
    assert len(training) + len(validation) == 300
    assert split(["a.wav", "b.wav"], [0, 0], 0.1) == ([0, 1], [0, 1])
    assert split(["a.wav"], [0], 0.1) == ([0], [0])


def test_a_place_depends_on_the_name_alone() -> None:
    assert place("/one/caf\u00e9.wav") == place("/two/cafe\u0301.wav") != place("/one/cafe.wav")
    assert 0 <= place("k\udcff.wav") < 1  # a name that is not Unicode
