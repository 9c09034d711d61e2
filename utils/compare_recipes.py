"""Train several recipes on the same sounds, one after the other, and measure what each has learned.

    python utils/compare_recipes.py <folder of sounds> --minutes 40 published one_shots
    python utils/compare_recipes.py <folder of sounds> --steps 1200 --changes

Every recipe trains for the same wall time (or steps), with the same batch and the same held-out sounds, in a process of
its own; runs that are finished are not trained again. Each is then sampled with several samplers and compared with the
held-out sounds. The table goes to <out>/recipes.json and .md, the sounds of the best sampler to contact sheets.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from benchmark import machine
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from tiny_audio_diffusion import audio, checkpoint, command, metrics, plot
from tiny_audio_diffusion.trainer import best_precision
from tiny_audio_diffusion.watch import Bar

ROOT = Path(__file__).resolve().parents[1]
HELD_OUT = 0.2  # of the sounds
RECIPES = {
    "published": ["exp=drum_diffusion"],
    "one_shots": ["exp=one_shots"],
}
# One change at a time on the way from the published recipe to ours.
START = ["exp=one_shots", "representation=raw", "schedule@noise=angle", "network.gated=false"]
HALF = ["representation=companded", "representation.power=0.5"]
CHANGES = {
    "raw scale": [*START, "representation.level=1.0"],
    "+ own level": START,
    "+ companded 1/2": [*START, *HALF],
    "companded 1/3": [*START, "representation=companded"],
    "asinh law": [*START, "representation=soft_companded"],
    "1/2, K, log-normal": [*START, *HALF, "objective=k", "schedule@noise=log_normal"],
    "1/2, V, log-normal": [*START, *HALF, "schedule@noise=log_normal"],
    "1/3, V, log-normal": [*START, "representation=companded", "schedule@noise=log_normal"],
    "1/3, V, log-normal, gated": ["exp=one_shots"],
    "asinh, V, log-normal": [*START, "representation=soft_companded", "schedule@noise=log_normal"],
    "1/2, flow, logit-normal": [*START, *HALF, "objective=flow", "schedule@noise=logit_normal"],
}
SAMPLERS = {
    "DDIM, linear, 50": {"sampler": "euler", "schedule": "angle", "steps": 50},
    "ancestral, linear, 50": {"sampler": "ancestral", "schedule": "angle", "steps": 50},
    "DPM++ 2M SDE, linear, 50": {"sampler": "dpm2m_sde", "schedule": "angle", "steps": 50},
    "DPM++ 2M, linear, 20": {"sampler": "dpm2m", "schedule": "angle", "steps": 20},
    "DPM++ 2M, Karras, 20": {"sampler": "dpm2m", "schedule": "karras", "steps": 20},
    "DPM++ 2M SDE, Karras, 50": {"sampler": "dpm2m_sde", "schedule": "karras", "steps": 50},
    "Heun, linear, 49": {"sampler": "heun", "schedule": "angle", "steps": 49},
}


def main() -> None:
    arguments = parse()
    command.prepare()
    recipes = dict(CHANGES) if arguments.changes else {name: RECIPES[name] for name in arguments.recipes}
    if arguments.only:
        recipes = {name: overrides for name, overrides in recipes.items() if any(o in name for o in arguments.only)}
    arguments.out.mkdir(parents=True, exist_ok=True)
    judge = Judge(arguments)
    rows = [judge.real_row()]
    for name, overrides in recipes.items():
        train(name, overrides, arguments)
        rows += judge.rows(name)
        report(rows, arguments)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="sounds to train on; a fifth of them is held out")
    parser.add_argument("recipes", nargs="*", default=list(RECIPES), help=f"of {', '.join(RECIPES)}")
    parser.add_argument("--changes", action="store_true", help="one change at a time instead of whole recipes")
    parser.add_argument("--only", nargs="+", help="only the changes whose name holds one of these words")
    parser.add_argument("--minutes", type=float, help="wall time of each training")
    parser.add_argument("--steps", type=int, help="or optimizer steps of each training")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--sounds", type=int, default=64, help="generated per sampler")
    parser.add_argument("--samplers", nargs="+", help="only samplers whose name holds one of these words")
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "recipes")
    arguments = parser.parse_args()
    unknown = set(arguments.recipes) - set(RECIPES)
    if unknown:
        parser.error(f"no recipe {', '.join(unknown)}; there are {', '.join(RECIPES)}")
    if (arguments.minutes is None) == (arguments.steps is None):
        parser.error("give --minutes or --steps")
    return arguments


def run_folder(name: str, arguments: argparse.Namespace) -> Path:
    return arguments.out.resolve() / "runs" / file_name(name)


def file_name(label: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in label)


def train(name: str, overrides: list[str], arguments: argparse.Namespace) -> None:
    """One training in a process of its own, unless it is done already."""
    folder = run_folder(name, arguments)
    if (folder / "checkpoints" / "last.ckpt").exists():
        return
    limit = [f"trainer.max_steps={arguments.steps}"] if arguments.steps else time_limit(arguments.minutes)
    common = [
        f"datamodule.dataset.path='{arguments.folder.resolve()}'",
        f"datamodule.validation_fraction={HELD_OUT}",
        "datamodule.validation_count=16",
        f"batch_size={arguments.batch_size}",
        "accumulate_grad_batches=1",
        "num_workers=0",
        "val_log_every_n_steps=400",
        "sample_count=0",
        "trainer.gpus=0",
        f"hydra.run.dir='{folder}'",
    ]
    print(f"=== {name}", flush=True)
    subprocess.run([sys.executable, str(ROOT / "train.py"), *overrides, *common, *limit], check=True)


def time_limit(minutes: float) -> list[str]:
    hours, seconds = divmod(round(minutes * 60), 3600)
    clock = f"00:{hours:02d}:{seconds // 60:02d}:{seconds % 60:02d}"
    return ["trainer.max_steps=-1", f"trainer.max_time={clock}"]


class Judge:
    """Distances of generated sounds to the held-out ones, in a log-mel space fitted on the training sounds."""

    def __init__(self, arguments: argparse.Namespace):
        self.arguments = arguments
        self.samplers = {
            name: sampler
            for name, sampler in SAMPLERS.items()
            if not arguments.samplers or any(word in name for word in arguments.samplers)
        }
        with initialize_config_dir(str(command.ROOT / "configs"), version_base="1.3"):
            config = compose("config", ["exp=one_shots", f"datamodule.dataset.path='{arguments.folder.absolute()}'"])
        dataset = instantiate(config.datamodule.dataset)
        self.training, self.held_out = (dataset.audio(indices) for indices in dataset.sides(HELD_OUT))
        features = metrics.log_mel(self.training, 44100)
        self.space = metrics.Standardise(features, dimensions=40)
        self.reference = self.space(metrics.log_mel(self.held_out, 44100))

    def measure(self, sounds: torch.Tensor) -> dict[str, Any]:
        features = self.space(metrics.log_mel(sounds, 44100))
        return {
            "kernel_distance": metrics.kernel_distance(self.reference, features),
            "interval": metrics.bootstrap_interval(self.reference, features),
            "tail": metrics.tail_noise(sounds, 44100).median().item(),
            "peak": metrics.peak_decibels(sounds).median().item(),
        }

    def real_row(self) -> dict[str, Any]:
        tail = metrics.tail_noise(self.held_out, 44100).median().item()
        row = {"recipe": "held-out sounds", "sampler": "training sounds against them", "steps": 0}
        return row | self.measure(self.training) | {"tail": tail}

    def rows(self, name: str) -> list[dict[str, Any]]:
        """One row per sampler; sounds are kept as files, so a second call only measures."""
        folder = run_folder(name, self.arguments)
        path = folder / "checkpoints" / "last.ckpt"
        steps = checkpoint.read(path).step
        rows, best = [], None
        for label, choice in self.samplers.items():
            sounds = self.sounds(path, folder / "sounds" / file_name(label), choice)
            rows.append({"recipe": name, "steps": steps, "sampler": label} | self.measure(sounds))
            print(line(rows[-1]), flush=True)
            if best is None or rows[-1]["kernel_distance"] < best[0]:
                best = (rows[-1]["kernel_distance"], sounds)
        assert best is not None
        plot.contact_sheet(best[1][:16], 44100, self.arguments.out / f"{folder.name}.png")
        return rows

    def sounds(self, path: Path, folder: Path, choice: dict[str, Any]) -> torch.Tensor:
        count = self.arguments.sounds
        files = [folder / f"sound_{index:03d}.wav" for index in range(count)]
        if not files[-1].exists():
            changes = OmegaConf.create({"steps": choice["steps"]})
            changes.sampler = OmegaConf.load(ROOT / "configs" / "sampler" / f"{choice['sampler']}.yaml")
            changes.ladder = OmegaConf.load(ROOT / "configs" / "schedule" / f"{choice['schedule']}.yaml")
            pipeline = checkpoint.load_pipeline(path, changes=changes)
            with (
                torch.inference_mode(),
                torch.autocast("cpu", torch.bfloat16, enabled=best_precision("cpu") == "bf16-mixed"),
            ):
                audio.write_all(folder, pipeline.generate(count, batch_size=4, watch=Bar("sounds")), 44100)
        return torch.stack([audio.read(file)[0] for file in files])


def line(row: dict[str, Any]) -> str:
    low, high = row["interval"]
    return (
        f"| {row['recipe']} | {row['steps']} | {row['sampler']} | {row['kernel_distance']:.1f} "
        f"| {low:.1f} to {high:.1f} | {row['tail']:.1f} dB | {row['peak']:.1f} dB |"
    )


def report(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    head = "| recipe | steps | sampler | kernel distance | 95 % | tail | peak |\n|---|---|---|---|---|---|---|\n"
    limit = f"{arguments.minutes:g} minutes" if arguments.minutes else f"{arguments.steps} steps"
    text = f"{limit} each, batch {arguments.batch_size}, {arguments.sounds} sounds per sampler; {machine()}\n\n"
    name = "changes" if arguments.changes else "recipes"
    save(arguments.out / name, text + head + "\n".join(map(line, rows)), rows)


def save(path: Path, text: str, rows: list[dict[str, Any]]) -> None:
    """The table as Markdown, and its numbers as JSON beside it."""
    path.with_suffix(".md").write_text(text + "\n")
    path.with_suffix(".json").write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
