"""Training begins where another model is: its settings, its weights, its average; parts may stay as they are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import models
import pytest
import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from runs import QUIET, tiny_config, train, write_sounds
from torch import Tensor

from tiny_audio_diffusion import checkpoint, finetune
from tiny_audio_diffusion.callbacks.ema import ExponentialAverage, PowerAverage
from tiny_audio_diffusion.foreign.model import NETWORK, under_our_names
from tiny_audio_diffusion.module import Module
from tiny_audio_diffusion.network import UNet
from tiny_audio_diffusion.network.dance import DanceUNet
from tiny_audio_diffusion.training import build_datamodule, build_module, build_trainer

pytestmark = QUIET
SKIP = "diffusion.network.levels.0.skip.weight"


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sounds(tmp_path_factory.mktemp("sounds"), 4)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of ours."""
    return models.write("ours", tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the published project."""
    pytest.importorskip("audio_diffusion_pytorch")
    pytest.importorskip("ema_pytorch")
    return models.write("tiny", tmp_path_factory.mktemp("theirs"))


class Loss(pl.Callback):
    """Keeps the losses of training, and the weights of the average as they were before the first step."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.batches: list[dict[str, Any]] = []
        self.average: dict[str, Tensor] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        averages = [callback for callback in trainer.callbacks if hasattr(callback, "_average_model")]
        self.average = {name: value.clone() for name, value in averages[0]._average_model.module.state_dict().items()}

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.losses.append(outputs["loss"].item())
        self.batches.append(batch)


def config_of(
    init: object, sounds: Path, folder: Path, *overrides: str, chosen: Sequence[str] = (), steps: int = 1
) -> DictConfig:
    """exp=finetune at tiny size with settings taken over; `chosen` are overrides that the user has typed."""
    given = ["network=published", f"init='{init}'", f"trainer.max_steps={steps}", "steps=2", *overrides, *chosen]
    return tiny_config(sounds, folder, *given, experiment="finetune")


def adopted(config: DictConfig, monkeypatch: pytest.MonkeyPatch, *chosen: str) -> DictConfig:
    monkeypatch.setattr(finetune, "command_line", lambda: ["exp=finetune", "init=x", *chosen])
    return finetune.adopt(config)


def fit(config: DictConfig) -> tuple[Module, Loss, dict[str, Tensor]]:
    """Train with a configuration; returns the module, what it went through, and the content of its checkpoint."""
    dataset = instantiate(config.datamodule.dataset)
    pl.seed_everything(config.seed, verbose=False)
    module, seen = build_module(config), Loss()
    module.representation.measure(torch.ones(1, 2, 8))
    finetune.initialise(module, config)
    trainer = build_trainer(config)
    trainer.callbacks.insert(0, seen)
    trainer.fit(module, datamodule=build_datamodule(config, dataset))
    path = Path(config.run_folder) / "end.ckpt"
    trainer.save_checkpoint(path)
    return module, seen, checkpoint.read(path).content


# Settings.


def test_what_is_taken_over(
    theirs: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="tiny_audio_diffusion")
    config = adopted(config_of(theirs, sounds, tmp_path), monkeypatch)
    model = checkpoint.read(theirs)
    for name in ("network", "objective", "noise", "sampler", "ladder", "sampling_rate", "length", "channels", "steps"):
        assert config[name] == model.config[name], name
    assert config.representation == {"_target_": "tiny_audio_diffusion.representation.Raw", "level": 1.0}
    assert (config.sampling_rate, config.length) == (22050, 64)
    transforms = config.datamodule.dataset.transforms
    assert (transforms.sampling_rate, transforms.length) == (22050, 64)  # what refers to them follows
    assert config.module.diffusion.network.channels == [8, 16, 24]
    assert config.module.optimizer.lr == 5e-5  # training is the experiment's
    assert "taking over network, objective" in caplog.text


def test_the_command_line_wins(own: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = ["channels=1", "schedule@noise=log_normal", "noise.mean=-1.0", "representation.power=0.5", "length=2048"]
    config = config_of(own, sounds, tmp_path, chosen=["+representation.power=0.5", *chosen[:3], chosen[4]])
    config = adopted(config, monkeypatch, *chosen)
    assert (config.channels, config.network.in_channels, config.length) == (1, 1, 2048)
    assert config.noise == {"_target_": "tiny_audio_diffusion.schedule.LogNormal", "mean": -1.0, "std": 1.8}
    assert config.representation == {
        "_target_": "tiny_audio_diffusion.representation.Companded",
        "power": 0.5,
        "level": None,  # another representation has another level
    }
    assert config.network.patch == 4


def test_the_level_is_that_of_the_weights(own: Path, sounds: Path, tmp_path: Path, monkeypatch: Any) -> None:
    config = adopted(config_of(own, sounds, tmp_path), monkeypatch)
    module, _, content = fit(config)
    assert module.representation.level == torch.tensor(0.3)
    assert content["state_dict"]["representation.level"] == torch.tensor(0.3)


def test_hydras_overrides_are_known(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert finetune.command_line() == []
    config = OmegaConf.create({"hydra": {"overrides": {"task": ["exp=finetune", "+network.gated=true", "~noise"]}}})
    monkeypatch.setattr("tiny_audio_diffusion.finetune.HydraConfig", lambda: None)
    monkeypatch.setattr("tiny_audio_diffusion.finetune.HydraConfig.initialized", lambda: True, raising=False)
    monkeypatch.setattr("tiny_audio_diffusion.finetune.HydraConfig.get", lambda: config.hydra, raising=False)
    assert finetune._chosen(finetune.command_line()) == ["exp", "network.gated", "noise"]


def test_nothing_to_begin_with(sounds: Path, tmp_path: Path) -> None:
    config = tiny_config(sounds, tmp_path)
    assert finetune.adopt(config) is config
    assert finetune.initialise(build_module(config), config) == []
    with pytest.raises(ValueError, match="init= is missing"):
        finetune.adopt(tiny_config(sounds, tmp_path, experiment="finetune"))
    for override in ("freeze=[diffusion.*]", "loaded_lr_factor=0.1"):
        with pytest.raises(ValueError, match="give init= as well"):
            finetune.adopt(tiny_config(sounds, tmp_path, override))
    with pytest.raises(ValueError, match="loaded_lr_factor must be above 0"):
        finetune.adopt(tiny_config(sounds, tmp_path, "loaded_lr_factor=0"))


# Weights.


def test_the_first_loss_is_the_original_packages(
    theirs: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from parity.upstream import SMALL, trained

    config = adopted(config_of(theirs, sounds, tmp_path), monkeypatch)
    draws: list[tuple[Tensor, Tensor]] = []
    loss = checkpoint.Diffusion.loss

    def watched(self: Any, clean: Tensor) -> Tensor:
        sigma, noise = self.schedule.draw(len(clean)), torch.randn(clean.shape)
        draws.append((sigma, noise))
        return loss(self, clean, sigma=sigma, noise=noise)

    monkeypatch.setattr(checkpoint.Diffusion, "loss", watched)
    _, seen, _ = fit(config)
    (sigma, noise), clean = draws[-1], seen.batches[0]["audio"]
    original = trained(SMALL)[0].model
    with monkeypatch.context() as patch:
        patch.setattr(torch, "randn_like", lambda _: noise)
        time = (sigma.atan() * 2 / torch.pi).float()
        patch.setattr(original.diffusion, "sigma_distribution", lambda num_samples, device: time)
        expected = original(clean).item()
    assert expected > 0.01
    assert seen.losses[0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("kind", models.KINDS)
def test_every_kind_trains(kind: str, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind in ("tiny", "unet"):
        pytest.importorskip("audio_diffusion_pytorch")
        pytest.importorskip("ema_pytorch")
    path = models.write(kind, tmp_path / "model")
    config = adopted(config_of(path, sounds, tmp_path / "run", chosen=["length=64"]), monkeypatch, "length=64")
    model = checkpoint.read(path)
    module = build_module(config)
    lines = finetune.initialise(module, config)
    assert lines[0].startswith(f"weights of {model.path}")
    online = model.current_model_state or model.state_dict
    for name, value in module.state_dict().items():
        assert torch.equal(value, online[name].float()), name
    _, seen, content = fit(config)
    for name, value in seen.average.items():
        assert torch.equal(value, model.state_dict[name].float()), name
    assert content["global_step"] == 1  # a new run
    assert len(content["optimizer_states"][0]["state"]) == len(list(module.parameters()))


@pytest.mark.parametrize("average", ["power", "exponential"])
def test_the_loaded_average_gives_way_slowly(
    average: str, own: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = [f"callbacks/average={average}", "module.warmup_steps=0", "module.optimizer.lr=1e-2"]
    _, _, content = fit(adopted(config_of(own, sounds, tmp_path, *overrides, steps=2), monkeypatch))
    callback = {
        "power": PowerAverage(relative_width=0.1, device=None),
        "exponential": ExponentialAverage(beta=0.995, power=0.7, device=None),
    }
    decays = [callback[average].decay(finetune.UPDATES + step) for step in (1, 2)]
    assert all(0.98 < decay < 0.9999 for decay in decays)
    model = checkpoint.read(own)
    assert model.current_model_state is not None
    kept = decays[0] * decays[1]
    change = (content["state_dict"][SKIP] - model.state_dict[SKIP]).abs().mean()
    step = (content["current_model_state"][SKIP] - model.state_dict[SKIP]).abs().mean()
    assert 0.2 * (1 - kept) * step < change < 2 * (1 - kept) * step
    assert content["averaging_state"]["n_averaged"] == finetune.UPDATES + 2


def test_the_average_of_a_new_run_begins_with_its_weights(sounds: Path, tmp_path: Path) -> None:
    _, _, content = fit(tiny_config(sounds, tmp_path, "trainer.max_steps=1"))
    for name, value in content["current_model_state"].items():
        assert torch.equal(content["state_dict"][name], value)
    assert content["averaging_state"]["n_averaged"] == 1


def test_without_an_average_training_begins_with_the_loaded_one(
    own: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = adopted(config_of(own, sounds, tmp_path), monkeypatch)
    config.callbacks.average = None
    module = build_module(config)
    finetune.initialise(module, config)
    assert torch.equal(module.state_dict()[SKIP], checkpoint.read(own).state_dict[SKIP])


# Frozen, slower.


def test_a_stopped_fine_tuning_goes_on(own: Path, sounds: Path, tmp_path: Path) -> None:
    options = ["sample_count=0", "module.decay_to=1.0", "freeze=['*.time.*']"]
    whole = tiny_config(sounds, tmp_path / "whole", f"init='{own}'", *options)
    train(whole)
    train(tiny_config(sounds, tmp_path / "first", f"init='{own}'", *options, "trainer.max_steps=2"))
    train(tiny_config(sounds, tmp_path / "rest", "init=''", f"ckpt='{tmp_path / 'first'}'", *options))
    ends = [checkpoint.read_run(checkpoint.find(str(tmp_path / name), logs=tmp_path)) for name in ("whole", "rest")]
    assert [model.step for model in ends] == [4, 4]
    assert all(torch.equal(value, ends[1].state_dict[name]) for name, value in ends[0].state_dict.items())
    with pytest.raises(ValueError, match="another freeze"):
        train(tiny_config(sounds, tmp_path / "other", "init=''", f"ckpt='{tmp_path / 'first'}'", *options[:2]))


def test_what_is_frozen_stays(own: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pattern = "diffusion.network.levels.1.*"
    overrides = [
        f"freeze=['{pattern}','diffusion.network.time.*']",
        "module.warmup_steps=0",
        "module.optimizer.lr=1e-2",
    ]
    config = adopted(config_of(own, sounds, tmp_path, *overrides, steps=3), monkeypatch)
    module, _, content = fit(config)
    before = checkpoint.read(own).state_dict
    frozen = {name for name in before if ".levels.1." in name or ".time." in name}
    assert frozen == {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    for weights in (content["state_dict"], content["current_model_state"]):
        for name, value in weights.items():
            assert torch.equal(value, before[name]) == (name in frozen or name == models.LEVEL), name
    (group,) = content["optimizer_states"][0]["param_groups"]
    assert len(group["params"]) == len(before) - len(frozen) - 1
    lines = finetune.initialise(build_module(config), config)
    assert f"frozen: {len(frozen)} tensors with {sum(before[name].numel() for name in frozen):,} weights" in lines


def test_what_cannot_be_frozen(own: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = adopted(config_of(own, sounds, tmp_path, "freeze=['diffusion.network.level.*']"), monkeypatch)
    with pytest.raises(ValueError, match=r"level\.\* means no parameter; there are") as error:
        finetune.initialise(build_module(config), config)
    parts = (
        "diffusion.network.time.*, diffusion.network.gate.*, diffusion.network.levels.0.*, diffusion.network.levels.1.*"
    )
    assert str(error.value).endswith(parts)
    config.freeze = "*"
    with pytest.raises(ValueError, match="nothing to train"):
        finetune.initialise(build_module(config), config)


def test_loaded_weights_may_learn_slower_than_new_ones(
    own: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = ["+network.vector_features=3", "loaded_lr_factor=0.1"]
    config = config_of(own, sounds, tmp_path, chosen=chosen)
    config = adopted(config, monkeypatch, *chosen)
    module = build_module(config)
    lines = finetune.initialise(module, config)
    assert "new: 2 tensors, such as diffusion.network.vector.weight" in lines
    groups = module.optimizer(module._parameter_groups()).param_groups
    assert [len(group["params"]) for group in groups] == [2, len(list(module.parameters())) - 2]
    module.trainer = pl.Trainer(accelerator="cpu", max_steps=5, logger=False, enable_checkpointing=False)
    built = module.configure_optimizers()
    rates = [group["initial_lr"] for group in built["optimizer"].param_groups]
    assert rates == pytest.approx([5e-5, 5e-6])
    assert {group["weight_decay"] for group in built["optimizer"].param_groups} == {1e-3}


# Channels.


def network_with(network: Any, channels: int, state: dict[str, Tensor], patch: int = 1) -> Any:
    """A network of other channels with the weights that fine-tuning would give it."""
    old = 3 - channels
    config = OmegaConf.create({"channels": old, "network": {"patch": patch}})
    model = checkpoint.Model(Path("some.ckpt"), "ours", config, state, None, None)
    weights = finetune._with_channels(state, model, channels)
    network.load_state_dict({name.removeprefix(NETWORK): value for name, value in weights.items() if NETWORK in name})
    return network


@pytest.mark.parametrize("name", ["published", "slim", "dance"])
@pytest.mark.parametrize("channels", [1, 2])
def test_mono_and_stereo_become_each_other(name: str, channels: int) -> None:
    slim = {"patch": 4, "gated": True}
    arguments = {key: value for key, value in models.SMALL.items() if key != "in_channels"}

    def build(count: int) -> Any:
        if name == "dance":
            return DanceUNet(**models.DANCE | {"in_channels": count})
        return UNet(in_channels=count, **arguments, **(slim if name == "slim" else {}))

    before = build(3 - channels)
    state = models.lively(under_our_names(before.state_dict()))
    before.load_state_dict({key.removeprefix(NETWORK): value for key, value in state.items() if NETWORK in key})
    after = network_with(build(channels), channels, state, patch=4 if name == "slim" else 1)
    mono, time = torch.randn(2, 1, 64), torch.tensor([0.2, 0.7])
    with torch.no_grad():
        expected = before(mono.expand(2, 3 - channels, 64), time)[:, :1]
        made = after(mono.expand(2, channels, 64), time)
    assert expected.std() > 0.1
    torch.testing.assert_close(made, expected.expand_as(made), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["ours", "diffusers"])
def test_a_stereo_model_trains_in_mono(
    kind: str, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = models.write(kind, tmp_path / "model")
    chosen = ["channels=1", "length=64"]
    config = adopted(config_of(path, sounds, tmp_path / "run", chosen=chosen), monkeypatch, *chosen)
    module = build_module(config)
    assert any("the model was stereo" in line for line in finetune.initialise(module, config))
    fit(config)
    assert checkpoint.load_pipeline(tmp_path / "run" / "end.ckpt").channels == 1


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("network.gated", False, r"the weights in .*last.ckpt are not those of its network: \d+ of \d+ tensors fit"),
        (
            "network",
            {"_target_": "tiny_audio_diffusion.network.dance.DanceUNet", **models.DANCE},
            "0 of .* tensors fit",
        ),
        ("network.channels", [8, 24], "of another shape"),
    ],
    ids=["gated", "dance", "channels"],
)
def test_what_does_not_fit_is_refused(
    place: str, value: Any, message: str, own: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(own, sounds, tmp_path)
    OmegaConf.update(config, place, value, merge=False, force_add=True)
    config = adopted(config, monkeypatch, f"{place}=x")
    with pytest.raises(ValueError, match=message) as error:
        finetune.initialise(build_module(config), config)
    assert len(str(error.value).splitlines()) <= 15


def test_other_numbers_of_channels_are_refused(own: Path) -> None:
    model = checkpoint.read(own)
    with pytest.raises(ValueError, match="makes sounds of 2 channels"):
        finetune._with_channels(model.state_dict, model, 3)
