"""Estimated memory, against sums by hand and against real trainings that were measured."""

import re
import sys
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from runs import QUIET, tiny_config
from torch import nn
from torch.nn import functional

import train
from tiny_audio_diffusion import arguments, resume
from tiny_audio_diffusion.memory import knobs, measure, sizes
from tiny_audio_diffusion.memory.estimate import KINDS, Estimate, estimate, precision_on
from tiny_audio_diffusion.memory.ledger import Ledger
from tiny_audio_diffusion.memory.pretence import pretend
from tiny_audio_diffusion.memory.rehearsal import rehearse
from tiny_audio_diffusion.training import build_module

pytestmark = QUIET
FLOAT = 4  # bytes


def tiny(*overrides: str, experiment: str = "one_shots") -> DictConfig:
    return tiny_config(Path("/no/sounds"), Path("/no/run"), *overrides, experiment=experiment)


@pytest.fixture(scope="module")
def base() -> Estimate:
    return estimate(tiny(), device="cpu")


def count(config: DictConfig) -> tuple[int, int]:
    """Numbers in all parameters, and how many tensors these are."""
    parameters = list(build_module(config).parameters())
    return sum(parameter.numel() for parameter in parameters), len(parameters)


# The account.


def test_a_ledger_of_three_blocks() -> None:
    with pretend("cpu"), Ledger() as ledger:
        first = torch.zeros(1000)
        view = first[10:].view(-1)  # takes nothing
        ledger.begin("second")
        doubled = view * 2
        del first, view
        ledger.begin("third")
        third = doubled.to(torch.float16)
        ledger.tag([third], "kept")
    highest = {phase: size for phase, (size, _) in ledger.highest().items()}
    assert highest == {"start": 4000, "second": 4000 + 3960, "third": 3960 + 1980}
    assert ledger.highest(without=["kept"])["third"][0] == 3960
    assert [block.size for block in ledger.held(ledger.clock)] == [3960, 1980]


def test_an_allocator_hands_out_whole_blocks() -> None:
    with pretend("cpu"), Ledger(rounding=512) as ledger:
        held = [torch.zeros(1), torch.zeros(129)]
    assert ledger.highest()["start"][0] == 512 + 1024
    assert len(held) == 2


def test_what_autograd_keeps_is_released_on_the_way_back() -> None:
    with pretend("cpu"), Ledger() as ledger:
        weight = nn.Parameter(torch.zeros(10, 10))
        loss = ((torch.zeros(50, 10) @ weight).exp() ** 2).sum()
        kept = sum(block.size for block in ledger.held(ledger.clock))
        loss.backward()
        after = sum(block.size for block in ledger.held(ledger.clock))
    assert kept >= FLOAT * (100 + 500 + 500 + 1)  # weight, input of the product, input of the square, loss
    assert after <= FLOAT * (2 * 100 + 500 + 2)  # weight, gradient, the freed input at most


# A training.


def test_what_stays_has_closed_forms(base: Estimate) -> None:
    numbers, tensors = count(tiny())
    assert set(base.kinds) == set(KINDS)
    assert base.kinds["parameters"] == FLOAT * (numbers + 1)  # and the level
    assert base.kinds["gradients"] == FLOAT * numbers
    assert base.kinds["optimizer"] == FLOAT * (2 * numbers + tensors)  # two moments, and a count for each tensor
    assert base.kinds["average"] == FLOAT * (numbers + 1) + 8  # and how many were averaged
    assert base.total == max(base.phases.values())


def test_activations_grow_with_the_batch(base: Estimate) -> None:
    twice, four = (estimate(tiny(f"batch_size={size}"), device="cpu") for size in (4, 8))
    assert four.kinds["activations"] - twice.kinds["activations"] == pytest.approx(
        2 * (twice.kinds["activations"] - base.kinds["activations"]), rel=0.05
    )
    assert twice.kinds["activations"] == pytest.approx(2 * base.kinds["activations"], rel=0.1)
    assert {kind: four.kinds[kind] for kind in KINDS[:4]} == {kind: base.kinds[kind] for kind in KINDS[:4]}


def test_other_optimizers_and_averages() -> None:
    plain = ["~module.optimizer.betas", "~module.optimizer.eps", "module.optimizer._target_=torch.optim.SGD"]
    found = estimate(tiny(*plain, "~callbacks.average"), device="cpu")
    assert found.kinds["optimizer"] == found.kinds["average"] == 0


def test_what_is_recomputed_is_not_kept(base: Estimate) -> None:
    found = estimate(tiny("trainer.memory=low"), device="cpu")
    assert found.kinds["activations"] < 0.5 * base.kinds["activations"]
    assert found.total < base.total


def test_what_is_recomputed_for_cuda_is_what_was_computed() -> None:
    half = ["trainer.precision=bf16-mixed", "network.attentions=[1,1]"]
    normal, low = (estimate(tiny(*half, f"trainer.memory={memory}"), device="cuda") for memory in ("normal", "low"))
    assert low.kinds["activations"] < 0.5 * normal.kinds["activations"]


def test_an_average_on_the_host_takes_nothing_of_a_gpu() -> None:
    there, away = (estimate(tiny(f"callbacks.average.device={place}"), device="cuda") for place in ("null", "cpu"))
    assert away.kinds["average"] == 0
    assert away.total == there.total - there.kinds["average"]
    assert estimate(tiny("trainer.memory=low"), device="cuda").kinds["average"] == 0
    on_cpu = estimate(tiny("callbacks.average.device=cpu"), device="cpu")
    assert on_cpu.kinds["average"] > 0


def test_moments_in_bytes() -> None:
    wide = ["network.channels=[64,64]", f"module.optimizer._target_={knobs.EIGHT_BITS}"]
    found = estimate(tiny(*wide), device="cpu")
    assert 0.5 * found.kinds["parameters"] < found.kinds["optimizer"] < found.kinds["parameters"]


def test_what_is_frozen_has_neither_gradient_nor_moments(base: Estimate) -> None:
    found = estimate(tiny("freeze=[diffusion.network.levels.*]"), device="cpu")
    assert found.kinds["gradients"] < 0.5 * base.kinds["gradients"]
    assert found.kinds["optimizer"] < 0.5 * base.kinds["optimizer"]
    assert found.kinds["parameters"] == base.kinds["parameters"]


@pytest.mark.parametrize(
    ("experiment", "overrides"),
    [
        ("one_shots", ["trainer.precision=bf16-mixed"]),
        ("drum_diffusion", ["network.patch=1", "accumulate_grad_batches=4"]),
    ],
)
def test_estimates_are_what_is_measured(experiment: str, overrides: list[str]) -> None:
    config = tiny(*overrides, "length=4096", experiment=experiment)
    found = estimate(config, device="cpu")
    real = measure.peak(lambda: rehearse(config, accelerator="cpu", precision=precision_on(config, "cpu")))
    assert found.total == pytest.approx(real.added, rel=0.15)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["32", "bf16-mixed"])
def test_estimates_are_what_is_measured_on_cuda(precision: str) -> None:
    config = tiny(f"trainer.precision={precision}", "length=32768", "batch_size=16", "trainer.gpus=1")
    found = estimate(config, device="cuda")
    real = measure.peak(lambda: rehearse(config, accelerator="gpu", precision=precision_on(config, "cuda")), "cuda")
    assert found.total == pytest.approx(real.peak, rel=0.15)


def test_nothing_of_a_pretence_is_left() -> None:
    linear = nn.Linear(2, 2)
    assert linear.to(torch.float64).weight.dtype == torch.float64
    assert torch.zeros(2).device.type == "cpu"
    assert float(torch.ones(2).sum()) == 2


# CUDA, which need not be there.


def test_cuda_has_kernels_of_its_own(base: Estimate) -> None:
    with pretend("cuda"):
        x = torch.zeros(1, 8, 16, 8, requires_grad=True)
        assert x.device == torch.zeros(1, device=x.device).device == torch.device("cuda", 0)
        assert "Efficient" in str(functional.scaled_dot_product_attention(x, x, x).grad_fn)
        with torch.autocast("cpu", torch.bfloat16):
            assert functional.group_norm(x.bfloat16(), 2).dtype == torch.float32
            assert "Flash" in str(functional.scaled_dot_product_attention(x, x, x).grad_fn)
    on_cuda = estimate(tiny(), device="cuda")
    assert on_cuda.kinds["parameters"] > base.kinds["parameters"]  # whole blocks
    single = estimate(tiny("module.optimizer._target_=torch.optim.NAdam"), device="cpu")
    each = estimate(tiny("module.optimizer._target_=torch.optim.NAdam"), device="cuda")  # foreach: all at once
    assert each.phases["optimizer step"] > single.phases["optimizer step"] + 0.5 * base.kinds["parameters"]


def test_other_devices_are_refused() -> None:
    with pytest.raises(ValueError, match="for cpu and cuda, not for mps"):
        estimate(tiny(), device="mps")


# Sizes, knobs, the command.


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2GiB", 2 * 1024**3),
        ("512MiB", 512 * 1024**2),
        ("1.5GB", 1_500_000_000),
        ("1.5 gib", 3 * 512 * 1024**2),
        (2147483648, 2**31),
        ("80000000", 80_000_000),
    ],
)
def test_sizes(text: str | int, size: int) -> None:
    assert sizes.parse(text) == size


@pytest.mark.parametrize("text", ["2 giga", "-1GiB", "GiB", "", "2", "0", "1e9x", "2GiB 3"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"write it as 2GiB, 512MiB or 1\.5GB") as refused:
        sizes.parse(text)
    assert "\n" not in str(refused.value)


def imagined(config: DictConfig) -> Estimate:
    """100 MiB for each sound at a time and 1000 besides; half as much where little is kept for the way back."""
    size = (1000 + 100 * config.batch_size) * sizes.MIB // (2 if config.trainer.memory == "low" else 1)
    return Estimate("cpu", "", {"parameters": size}, "", {})


@pytest.mark.parametrize(
    ("limit", "batch", "low"), [(2600, 16, False), (2599, 8, False), (1100, 1, False), (1099, 8, True), (550, 1, True)]
)
def test_the_cheapest_that_fits_is_picked(limit: int, batch: int, low: bool) -> None:
    config = tiny("batch_size=16")
    choice, enough = knobs.pick(config, "cpu", limit * sizes.MIB, imagined)
    assert enough
    assert choice.settings.get("batch_size", 16) == batch
    assert choice.settings.get("accumulate_grad_batches", 1) * batch == 16
    assert (choice.settings.get("trainer.memory") == "low") == low
    assert choice.estimate == imagined(knobs.with_settings(config, choice.settings))


def test_where_nothing_fits_the_smallest_is_told() -> None:
    choice, enough = knobs.pick(tiny("batch_size=16"), "cpu", 100 * sizes.MIB, imagined)
    assert not enough
    assert choice.estimate.total == 550 * sizes.MIB
    assert choice.settings["batch_size"] == 1


def test_cuda_needs_room_for_its_context() -> None:
    found = Estimate("cuda", "", {"parameters": sizes.GIB}, "", {})
    assert knobs.fits(found, 2 * sizes.GIB)
    assert not knobs.fits(found, sizes.parse("1.5GiB"))


def run(monkeypatch: pytest.MonkeyPatch, *given: str) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", *given])
    GlobalHydra.instance().clear()
    train.main()


def test_the_command_trains_nothing_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    places = [f"logs_dir={tmp_path / 'logs'}", f"hydra.run.dir={tmp_path / 'run'}", "datamodule.dataset.path=/no where"]
    network = ["network.channels=[8]", "network.factors=[1]", "network.items=[1]", "network.attentions=[0]"]
    settings = ["exp=one_shots", *network, "batch_size=8", "length=16384", "trainer.precision=32"]
    run(monkeypatch, *settings, *places, "estimate=cpu", "limit=9MiB", "pick=true")
    said = capsys.readouterr().out
    assert re.search(r"total +[\d.]+ MiB +at its highest", said)
    *_, verdict, command = said.strip().splitlines()
    assert "fits into" in verdict
    assert command.startswith("python train.py exp=one_shots ")
    assert re.search(r"batch_size=[124] accumulate_grad_batches=[248]$", command)
    assert not re.search("estimate=|limit=|pick=|batch_size=8", command.replace("accumulate_grad_batches=8", ""))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["estimate=gpu"], "estimate=gpu: choose true, cpu or cuda"),
        (["estimate=cpu", "limit=2 elephants"], "limit=2 elephants is no amount of memory"),
        (["estimate=cpu", "pick=true"], "pick=true needs a limit, such as limit=2GiB"),
        (["limit=2GiB"], "add estimate=true, or leave it out"),
        (["pick=true", "estimate=false"], "add estimate=true, or leave it out"),
    ],
)
def test_mistakes_are_told(given: list[str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=message):
        run(monkeypatch, "exp=one_shots", *given)


def test_an_estimate_has_no_run_folder() -> None:
    read = arguments.for_training(["exp=a", "estimate=true", "hydra.run.dir='/x'"], experiments=["a"])
    assert "hydra.run.dir=." in read
    assert "hydra.run.dir='/x'" not in read
    trained = ["exp=a", "estimate=false", "limit=null"]
    assert arguments.for_training(trained, experiments=["a"]) == trained


def test_a_run_goes_on_whatever_was_asked_about_memory() -> None:
    assert {"estimate", "limit", "pick"} <= set(resume.OWN)
