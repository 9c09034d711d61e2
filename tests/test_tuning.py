"""How the network computes in training changes neither what it learns nor what is saved."""

from pathlib import Path
from typing import Any

import pytest
import torch
from runs import QUIET, tiny_config, train, write_sounds
from test_network import build
from torch import Tensor, nn

from tiny_audio_diffusion.device import compile_network
from tiny_audio_diffusion.memory import measure
from tiny_audio_diffusion.network.dance import DanceUNet

pytestmark = QUIET


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sounds(tmp_path_factory.mktemp("sounds"))


def content(sounds: Path, folder: Path, *options: str) -> dict[str, Any]:
    """The last checkpoint of a run."""
    train(tiny_config(sounds, folder, "sample_count=0", *options))
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def assert_same_weights(one: dict[str, Any], other: dict[str, Any]) -> None:
    for name in ("state_dict", "current_model_state"):
        assert one[name].keys() == other[name].keys()
        assert [key for key in one[name] if not torch.equal(one[name][key], other[name][key])] == []


def gradients(network: nn.Module, x: Tensor, time: Tensor) -> list[Tensor]:
    network.zero_grad()
    output = network(x, time)
    output.square().mean().backward()
    return [output.detach(), *(value.grad.clone() for value in network.parameters() if value.grad is not None)]


@pytest.mark.parametrize(
    "network",
    [build(), build(gated=True), DanceUNet(in_channels=2, channels=[8, 32, 32], attentions=[0, 0, 1])],
    ids=["published", "gated", "dance"],
)
def test_recomputing_gives_the_same_gradients_in_less_memory(network: Any) -> None:
    x, time = torch.randn(2, 2, 4096), torch.rand(2)
    found, bytes_added = [], []
    for network.recompute in (False, True):
        found.append(gradients(network, x, time))
        bytes_added.append(measure.peak(lambda: gradients(network, x, time)).added)
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))
    assert bytes_added[1] < 0.75 * bytes_added[0]


def test_runs_are_the_same_whatever_the_memory_and_wherever_the_average_lies(sounds: Path, tmp_path: Path) -> None:
    plain = content(sounds, tmp_path / "plain")
    for index, options in enumerate((["trainer.memory=low"], ["callbacks.average.device=cpu"])):
        assert_same_weights(plain, content(sounds, tmp_path / str(index), *options))


def test_moments_in_bytes_go_on_exactly(sounds: Path, tmp_path: Path) -> None:
    options = ["network.modulation_features=512", "module.decay_to=1.0"]  # a constant rate, wherever the end is
    options += ["module.optimizer._target_=tiny_audio_diffusion.optimizer.AdamW8bit"]
    whole = content(sounds, tmp_path / "whole", *options)
    moments = whole["optimizer_states"][0]["state"].values()
    assert {each["exp_avg"].dtype for each in moments} == {torch.int8, torch.float32}
    content(sounds, tmp_path / "part", *options, "trainer.max_steps=2")
    assert_same_weights(whole, content(sounds, tmp_path / "rest", *options, f"ckpt='{tmp_path / 'part'}'"))


def test_the_optimizer_is_one_pass_also_after_going_on(sounds: Path, tmp_path: Path) -> None:
    assert content(sounds, tmp_path / "run")["optimizer_states"][0]["param_groups"][0]["fused"] is True


def test_wrong_words_are_answered_with_the_right_ones(sounds: Path, tmp_path: Path) -> None:
    for option, message in (("memory=none", "choose normal or low"), ("compile=quick", "choose false, true, default")):
        with pytest.raises(Exception, match=message):
            train(tiny_config(sounds, tmp_path / "run", f"trainer.{option}"))


def test_a_missing_compiler_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> None:
        raise RuntimeError("no g++ here\nand much more")

    monkeypatch.setattr(torch, "compile", failing)
    with pytest.raises(ValueError, match=r"^trainer.compile=default needs a compiler .*: no g\+\+ here; .*=false$"):
        compile_network(build(), True, key="trainer.compile")


def test_compiling_leaves_names_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    network = build()
    names = list(network.state_dict())
    compile_network(network, "max-autotune", key="trainer.compile")
    assert list(network.state_dict()) == names
