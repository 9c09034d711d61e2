"""The command: two sets of sounds, of which a model may make one; a table, report.json, report.html."""

import json
import time
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from tiny_audio_diffusion import audio, checkpoint
from tiny_audio_diffusion.audio import printable
from tiny_audio_diffusion.data.transforms import Transforms
from tiny_audio_diffusion.evaluation import request
from tiny_audio_diffusion.evaluation.judge import Result, judge
from tiny_audio_diffusion.evaluation.page import page
from tiny_audio_diffusion.evaluation.report import report
from tiny_audio_diffusion.evaluation.sounds import Found, longest_seconds, look, most_channels, read, usual_rate
from tiny_audio_diffusion.evaluation.split import split
from tiny_audio_diffusion.evaluation.table import table
from tiny_audio_diffusion.generation import generate

LONGEST_SECONDS = 0.75  # that are compared unless told otherwise
AS_TRAINED = ("trim_silence", "loudness", "peak")


def evaluate(config: DictConfig) -> Path:
    """Judge as configured; returns the folder of the report."""
    request.check(config)
    embedder = instantiate(config.embedder)
    reference = look(request.folders(config.reference), name="reference", most=config.most, silent_too=False)
    split(reference.paths, [facts.digest for facts in reference.facts])  # refuses too few before a model makes any
    training = None
    if config.training:
        training = look(request.folders(config.training), name="training", most=config.most, silent_too=False)
    preparation = _preparation(config)
    folder = request.open_folder(config)
    try:
        made = config.generated
        if config.ckpt:
            made = generate(request.generation(config, folder / request.SOUNDS))
        generated = look(request.folders(made), name="generated", most=config.most, silent_too=True)
        transforms = _transforms(config, generated, preparation)
        print(f"comparing {len(generated.paths)} generated sounds with {len(reference.paths)} real ones …")
        started = time.monotonic()
        result = judge(
            read(reference, transforms, as_trained=True),
            read(generated, transforms, as_trained=False),
            embedder,
            training=read(training, transforms, as_trained=True) if training else None,
            seed=config.seed,
        )
        about = _about(config, reference, generated, training)
        about |= {"compared": _compared(transforms, preparation)}
        _write(folder, result, about | {"seconds_taken": round(time.monotonic() - started, 2)}, shown=config.shown)
    finally:
        if not any(folder.iterdir()):  # nothing came of it
            folder.rmdir()
    return folder


def _about(config: DictConfig, reference: Found, generated: Found, training: Found | None) -> dict[str, Any]:
    """Where the sounds are from, and what was asked."""
    return {
        "reference": _describe(reference),
        "generated": _describe(generated),
        "training": training and _describe(training),
        "settings": OmegaConf.to_container(config, resolve=True),
    }


def _compared(transforms: Transforms, preparation: dict[str, Any]) -> dict[str, Any]:
    """What all sounds were brought to."""
    form = {"sampling_rate": transforms.sampling_rate, "channels": transforms.channels}
    return {"seconds": round(transforms.seconds, 6)} | form | preparation


def _write(folder: Path, result: Result, about: dict[str, Any], *, shown: int) -> None:
    content = report(result, about)
    audio.write_whole(folder / request.JSON, (json.dumps(content, indent=2) + "\n").encode())
    audio.write_whole(folder / request.PAGE, page(result, about, shown=shown).encode())
    compared = about["compared"]
    print(
        f"{len(result.generated)} generated sounds against {len(result.parts.held_out)} held-out ones "
        f"of {len(result.reference)}: {compared['seconds']:.3g} s, {compared['sampling_rate']} Hz, "
        f"{'stereo' if compared['channels'] == 2 else 'mono'}\n\n{table(result)}\n\n"
        f"{request.PAGE} and {request.JSON} are in {folder.resolve()}"
    )


def _preparation(config: DictConfig) -> dict[str, Any]:
    """How real sounds are prepared: as asked, else as the model was trained, else as they are."""
    asked = {name: config[name] for name in AS_TRAINED}
    if not config.ckpt:
        return asked | {"trim_silence": bool(config.trim_silence)}
    path = checkpoint.find(config.ckpt, logs=config.logs_dir)
    model = checkpoint.read(path, allow_pickle=config.allow_pickle)
    trained = OmegaConf.select(model.config, "datamodule.dataset.transforms") or {}
    if config.loudness is not None or config.peak is not None:  # a sound has one level
        trained = {"trim_silence": trained.get("trim_silence")}
    found = {name: trained.get(name) if asked[name] is None else asked[name] for name in AS_TRAINED}
    return found | {"trim_silence": bool(found["trim_silence"])}


def _transforms(config: DictConfig, generated: Found, preparation: dict[str, Any]) -> Transforms:
    """What brings all sounds to one rate, length and number of channels: those of the generated ones."""
    longest = longest_seconds(generated)
    seconds = config.seconds or (longest if config.ckpt else min(longest, LONGEST_SECONDS))
    rate = usual_rate(generated)
    return Transforms(
        sampling_rate=rate,
        length=max(1, round(seconds * rate)),
        channels=most_channels(generated),
        random_crop=False,
        **preparation,
    )


def _describe(found: Found) -> dict[str, Any]:
    return {
        "folders": [printable(root) for root in found.roots],
        "count": len(found.paths),
        "skipped": [{"file": name, "reason": reason} for name, reason in found.skipped],
        "left_out": found.left_out,
    }
