"""Training learns: a minute on a few synthesised drums, and the sounds are far nearer to them than noise is."""

import sys
from pathlib import Path

import torch
from runs import QUIET, tiny_config, train
from torch.nn import functional

from tiny_audio_diffusion import audio, checkpoint
from tiny_audio_diffusion.command import ROOT
from tiny_audio_diffusion.data.synthesis import render

sys.path.append(str(ROOT / "utils"))
from check_quickstart import distances

pytestmark = QUIET
LENGTH = 8192


def drum(name: str, index: int) -> torch.Tensor:
    """A synthesised drum [1, LENGTH], faded out where it is cut."""
    sound = torch.from_numpy(render(name, index, seed=0)).float()[:LENGTH]
    fade = torch.linspace(1, 0, 500)
    sound[-500:] *= fade
    return functional.pad(sound, (0, LENGTH - len(sound)))[None]


def test_a_minute_of_training_is_heard(tmp_path: Path) -> None:
    drums = [drum(name, index) for name in ("kick", "hihat", "clap") for index in (0, 1)]
    folder = tmp_path / "sounds"
    folder.mkdir()
    for index, sound in enumerate(drums):
        audio.write(folder / f"drum_{index}.wav", sound, 44100)
    config = tiny_config(
        folder,
        tmp_path / "run",
        "network.channels=[32,64,128]",
        "network.factors=[1,4,4]",
        "network.items=[1,1,1]",
        "network.attentions=[0,0,1]",
        "network.modulation_features=64",
        "network.patch=16",
        f"length={LENGTH}",
        "batch_size=8",
        "steps=25",
        "sample_count=0",
        "trainer.max_steps=600",
        "val_log_every_n_steps=600",
        "module.optimizer.lr=2e-3",
        experiment="quickstart",
    )
    train(config)
    pipeline = checkpoint.load_pipeline(tmp_path / "run" / "checkpoints" / "last.ckpt")
    made = pipeline.generate(16, batch_size=16)
    figures = distances(made, torch.stack(drums), pipeline)
    assert figures["generated"] < 0.6 * min(figures["noise"], figures["untrained"])
