"""Has the quickstart learned? Its sounds against noise and the untrained network, in figures.

    python utils/check_quickstart.py [--sounds outputs/quickstart] [--data data/quickstart] [--ckpt last]

Distance: root mean square difference of a sound's log-mel picture to that of the nearest training sound, in dB,
averaged over the sounds. Exit code 1 if the sounds are not plainly better, or their ends are noisy.
"""

import argparse
import sys
from pathlib import Path

import torch

from tiny_audio_diffusion import audio, checkpoint, command, metrics
from tiny_audio_diffusion.pipeline import Pipeline

ROOT = Path(__file__).resolve().parents[1]


def distances(sounds: torch.Tensor, references: torch.Tensor, pipeline: Pipeline) -> dict[str, float]:
    """Mean distance to the nearest reference, of generated sounds, of the untrained network's and of noise."""
    rate = pipeline.sampling_rate
    known = metrics.log_mel(references, rate)
    untrained = untrain(pipeline).generate(4, batch_size=4)
    level = references.square().mean().sqrt()
    noise = torch.randn(16, *sounds.shape[1:], generator=torch.Generator().manual_seed(0)) * level
    return {
        name: metrics.nearest_distance(metrics.log_mel(some, rate), known).mean().item()
        for name, some in (("generated", sounds), ("untrained", untrained), ("noise", noise))
    }


def untrain(pipeline: Pipeline) -> Pipeline:
    """The same pipeline with the weights of a network that has seen nothing."""
    torch.manual_seed(0)
    for layer in pipeline.diffusion.network.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    return pipeline


def read_folder(folder: Path, length: int) -> torch.Tensor:
    """All WAV files below a folder, cut or padded to `length`, as [N, C, L]."""
    files = sorted(folder.rglob("*.wav"))
    if not files:
        raise SystemExit(f"no sounds in {folder}: run make quickstart first")
    sounds = [audio.read(file)[0] for file in files]
    return torch.stack(
        [torch.nn.functional.pad(sound[:, :length], (0, max(0, length - sound.shape[1]))) for sound in sounds]
    )


def verdict(figures: dict[str, float], sounds: torch.Tensor, rate: int) -> list[str]:
    """What is wrong with the sounds: nothing, one hopes."""
    problems = []
    if not sounds.isfinite().all() or sounds.abs().max() >= 1 or metrics.is_silent(sounds).any():
        problems.append("a sound is silent, clipped or not finite")
    if figures["generated"] > 0.6 * min(figures["noise"], figures["untrained"]):
        problems.append("the sounds are not plainly nearer to the training sounds than noise")
    quiet = (metrics.tail_noise(sounds, rate) < -40).sum().item()
    if quiet < 0.75 * len(sounds):
        problems.append(f"only {quiet} of {len(sounds)} sounds end 40 dB under their peak")
    return problems


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sounds", type=Path, default=ROOT / "outputs" / "quickstart")
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "quickstart")
    parser.add_argument("--ckpt", default="last")
    arguments = parser.parse_args()
    command.prepare()
    pipeline = checkpoint.load_pipeline(checkpoint.find(arguments.ckpt, logs=ROOT / "logs"))
    sounds = read_folder(arguments.sounds, pipeline.length)
    references = read_folder(arguments.data, pipeline.length)
    figures = distances(sounds, references, pipeline)
    print("mean log-mel distance to the nearest training sound, in dB:")
    print("  " + ", ".join(f"{name} {value:.1f}" for name, value in figures.items()))
    tails = metrics.tail_noise(sounds, pipeline.sampling_rate)
    print(
        f"last 50 ms under the peak: median {tails.median():.1f} dB, {(tails < -40).sum()} of {len(tails)} below -40 dB"
    )
    problems = verdict(figures, sounds, pipeline.sampling_rate)
    sys.exit("\n".join(problems) if problems else 0)


if __name__ == "__main__":
    main()
