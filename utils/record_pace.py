"""Keep a run's validation losses as what later runs of the same experiment are compared with.

    python utils/record_pace.py logs/runs/one_shots/<time> --sounds "415 CC0 drum one-shots, 37 held out"

Writes exp/pace/<experiment>.json: losses over sounds seen, the settings that they depend on, and this machine's name.
"""

import argparse
import csv
import json
from pathlib import Path

import torch
from benchmark import machine
from omegaconf import DictConfig, OmegaConf

from tiny_audio_diffusion import command, pace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run's folder")
    parser.add_argument("--sounds", required=True, help="what it was trained on, in words")
    parser.add_argument("--out", type=Path, help="default: exp/pace/<experiment>.json")
    arguments = parser.parse_args()
    config = OmegaConf.load(arguments.run / "config.yaml")
    assert isinstance(config, DictConfig)
    settings = pace.settings_of(config)
    with (arguments.run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("valid_loss")]
    if not rows:
        raise SystemExit(f"{arguments.run} has no validation yet")
    names = ["valid_loss", *(f"valid_loss_sigma_{level:g}" for level in settings["validation_levels"])]
    steps = [int(row["step"]) + 1 for row in rows]  # Lightning counts them from 0
    curve = {"sounds_seen": [step * settings["sounds_per_step"] for step in steps]}
    curve |= {name: [round(float(row[name]), 4) for row in rows] for name in names}
    content = {
        "experiment": config.experiment,
        "sounds": arguments.sounds,
        "machine": machine(),
        "torch": torch.__version__,
        "settings": settings,
        "curve": curve,
    }
    out = arguments.out or command.ROOT / "exp" / "pace" / f"{config.experiment}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"{out}: {len(rows)} validations, {curve['sounds_seen'][-1]:,} sounds, lowest {min(curve['valid_loss'])}")


if __name__ == "__main__":
    main()
