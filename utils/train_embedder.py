"""Train a small network to tell the classes of a folder apart: a listener for evaluate.py that knows your sounds.

    python utils/train_embedder.py <folder of class folders> --out drums.safetensors
    python evaluate.py embedder=classifier embedder.path=drums.safetensors …

A fifth of the sounds is held out; how many of them it puts into the right class is printed and kept in the file.
"""

import argparse
import logging
import time
from pathlib import Path

import torch
from benchmark import machine
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from tiny_audio_diffusion import command
from tiny_audio_diffusion.data.folder import SoundFolder
from tiny_audio_diffusion.embedder import classifier
from tiny_audio_diffusion.embedder.learning import accuracies, learn

RATE = 44_100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="its folders are the classes")
    parser.add_argument("--out", type=Path, required=True, help="the file to write: <name>.safetensors")
    parser.add_argument("--steps", type=int, default=800, help="optimizer steps of 32 sounds, default %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    command.prepare()
    command.friendly(train)(arguments)


def train(arguments: argparse.Namespace) -> None:
    if arguments.out.suffix != ".safetensors":
        raise ValueError(f"--out is the name of a .safetensors file, not {arguments.out}")
    dataset = open_folder(arguments.folder, channels=1)
    labels = torch.from_numpy(dataset.catalogue.labels).long()
    training, held_out = ([index for index in side if labels[index] >= 0] for side in dataset.sides(0.2))
    started = time.monotonic()
    sounds = dataset.audio(training)
    network = learn(sounds, labels[training], dataset.classes, RATE, steps=arguments.steps, seed=arguments.seed)
    found = accuracies(network, dataset.audio(held_out), labels[held_out], dataset.classes, RATE)
    print(f"{len(training)} sounds, {arguments.steps} steps, {time.monotonic() - started:.0f} s; {machine()}\n")
    print("| class | sounds | held out | recognised |\n|---|---|---|---|")
    for index, name in enumerate(dataset.classes):
        counts = [int((labels[side] == index).sum()) for side in (training, held_out)]
        print(f"| {name} | {counts[0]} | {counts[1]} | {f'{found[name]:.0%}' if name in found else 'none held out'} |")
    names = [*dataset.classes, classifier.NONE]
    classifier.write(arguments.out, network, classes=names, sampling_rate=RATE, accuracy=found)
    print(f"\nwritten to {arguments.out}")


def open_folder(folder: Path, *, channels: int) -> SoundFolder:
    """The usable sounds of a folder with classes, 0.74 s each, at their own level; loose files are left out."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with initialize_config_dir(str(command.ROOT / "configs"), version_base="1.3"):
        config = compose("config", [f"channels={channels}", "datamodule.dataset.transforms.loudness=null"])
    config.datamodule.dataset.path = str(folder.absolute())
    config.datamodule.dataset.cache_folder = None
    dataset: SoundFolder = instantiate(config.datamodule.dataset)
    if len(dataset.classes) < 2:
        raise ValueError(f"{folder} holds {len(dataset.classes)} folders of sounds: two classes or more are needed")
    return dataset


if __name__ == "__main__":
    main()
