"""How much data is enough: the same recipe on more and more of a folder's sounds, judged by the same held-out ones.

    python utils/compare_sizes.py <folder of sounds> --sizes 25 100 400 --steps 1500

A fifth of the sounds is held out by the hash of their names, as in every training; each size is a subset of the next.
Every size trains for the same number of steps, in a process of its own; runs that are finished are not trained again.
`valid_loss` has two columns because a model that learns its sounds by heart has its best validation behind it;
copies are generated sounds that are one of the training sounds (docs/evaluate.md).
"""

import argparse
import csv
import shutil
from pathlib import Path
from typing import Any

from benchmark import machine
from compare_recipes import HELD_OUT, ROOT, Judge, file_name, run_folder, save, train

from tiny_audio_diffusion import command, metrics
from tiny_audio_diffusion.data import order
from tiny_audio_diffusion.data.scan import EXTENSIONS

RATE = 44100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="sounds to train on")
    parser.add_argument("--sizes", type=int, nargs="+", required=True, help="numbers of training sounds")
    parser.add_argument("--steps", type=int, default=1500, help="of each training, default %(default)s")
    parser.add_argument("--batch-size", type=int, default=4, help="default %(default)s")
    parser.add_argument("--sounds", type=int, default=48, help="generated per size, default %(default)s")
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "sizes")
    arguments = parser.parse_args()
    arguments.samplers, arguments.minutes = ["DDIM"], None
    command.prepare()
    arguments.folder = arguments.folder.resolve()
    whole = argparse.Namespace(**vars(arguments))
    rows = []
    for size in sorted(arguments.sizes):
        arguments.folder = subset(whole.folder, size, arguments.out)
        train(f"{size} sounds", ["exp=one_shots"], arguments)
    judge = Judge(whole)
    for size in sorted(arguments.sizes):
        arguments.folder = subset(whole.folder, size, arguments.out)
        rows.append({"sounds": size} | row(f"{size} sounds", judge, Judge(arguments)))
        print(line(rows[-1]), flush=True)
    write(rows, whole)


def subset(folder: Path, size: int, out: Path) -> Path:
    """A folder with the held-out sounds and the `size` that come next in the order of the hash of their names."""
    files = sorted((path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS), key=place)
    held_out = [path for path in files if place(path) < HELD_OUT]
    chosen = files[: len(held_out) + size]
    if len(chosen) < len(held_out) + size:
        raise SystemExit(f"{folder} has {len(files) - len(held_out)} sounds to train on: {size} are asked for")
    target = out.resolve() / f"{size}_sounds"
    for path in chosen:
        copy = target / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return target


def place(path: Path) -> float:
    return order.place(path.name)


def row(name: str, judge: Judge, own: Judge) -> dict[str, Any]:
    """What one training came to, judged among all sounds; copies are those of its own sounds."""
    folder = run_folder(name, judge.arguments)
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        losses = [float(values["valid_loss"]) for values in csv.DictReader(file) if values.get("valid_loss")]
    [figures] = judge.rows(name)
    (label, choice), *_ = judge.samplers.items()
    sounds = judge.sounds(folder / "checkpoints" / "last.ckpt", folder / "sounds" / file_name(label), choice)
    nearest = metrics.nearest_sounds(sounds, own.training, RATE).similarity
    usual = metrics.nearest_sounds(own.held_out, own.training, RATE).similarity
    copies = int(metrics.is_copy(nearest, usual).sum())
    return figures | {"best_valid_loss": min(losses), "last_valid_loss": losses[-1], "copies": copies}


def line(values: dict[str, Any]) -> str:
    low, high = values["interval"]
    return (
        f"| {values['sounds']} | {values['best_valid_loss']:.3f} | {values['last_valid_loss']:.3f} "
        f"| {values['kernel_distance']:.1f} | {low:.1f} to {high:.1f} | {values['tail']:.1f} dB | {values['copies']} |"
    )


def write(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    head = (
        "| sounds | best valid_loss | last valid_loss | kernel distance | 95 % | tail | copies |\n" + 7 * "|---" + "|\n"
    )
    text = f"{arguments.steps} steps each, batch {arguments.batch_size}; {machine()}\n\n"
    save(arguments.out / "sizes", text + head + "\n".join(map(line, rows)), rows)


if __name__ == "__main__":
    main()
