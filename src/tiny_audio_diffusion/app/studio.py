"""The models that the page offers and the work with them: one call at a time, whoever asks."""

import logging
import re
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from tiny_audio_diffusion import checkpoint
from tiny_audio_diffusion.app import ask
from tiny_audio_diffusion.app.session import Session, Take
from tiny_audio_diffusion.app.work import Stopped
from tiny_audio_diffusion.generation import manifest, read_sound, request, tasks
from tiny_audio_diffusion.generation.kit import digest
from tiny_audio_diffusion.pipeline import Pipeline
from tiny_audio_diffusion.watch import Watch

TITLES = {
    "generate": "New sounds",
    "vary": "Variations",
    "inpaint": "Inpainted",
    "extend": "Extended",
    "interpolate": "Morph",
    "remix": "Remix",
}
SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}")
# Of a message for visitors the file's name is enough: where it lies is the host's business.
FOLDERS = re.compile(r"(?<![\w:/.])/(?:[^/\n:;'\"]+/)+")

logger = logging.getLogger(__name__)


class Studio:
    """Models by the names that the page shows; what a visitor sends is looked up here and never taken as a path."""

    def __init__(self, models: Mapping[str, str], config: DictConfig):
        self.models, self.logs = dict(models), str(config.logs_dir)
        self.common = {name: config[name] for name in ("batch_size", "device", "precision", "allow_pickle")}
        self.loading, self.working = threading.Lock(), threading.Lock()
        self.loaded: dict[str, tuple[Path, str, Pipeline]] = {}

    def model(self, name: str) -> tuple[Path, str, Pipeline]:
        """A model's file, its hash, and the model; only the last one used stays in memory."""
        if name not in self.models:
            raise ValueError("there is no such model: choose one from the list")
        with self.loading:
            if name not in self.loaded:
                path = checkpoint.find(self.models[name], logs=self.logs)
                pipeline = tasks.load(OmegaConf.create(self.common), path)
                self.loaded = {name: (path, digest(path), pipeline)}
            return self.loaded[name]

    def look(self, model: str, file: str | Path, task: str) -> tuple[Tensor, int, list[str]]:
        """A sound as the model takes it, its rate, and what was done to it."""
        pipeline = self.model(model)[2]
        sound, notes = read_sound(file, pipeline, task=task)
        return sound, pipeline.sampling_rate, notes

    def prepare(
        self, session: Session, model: str, task: str, values: Mapping[str, Any]
    ) -> tuple[Take, Callable[[Watch], None]]:
        """An empty take and the work that fills it; raises for whatever cannot be done, before any of it."""
        config = ask.compose(task, values, common=self.common)
        path, checksum, pipeline = self.model(model)
        if task == "inpaint":
            sound, rate, _ = self.look(model, config.input, task)
            config.keep = ask.gap(values.get("begin"), values.get("end"), sound.shape[-1] / rate)
        request.check(config)
        pipeline = ask.sampling(pipeline, config)
        number, folder = session.room()
        inputs: dict[str, Path] = {}
        for name in request.files(config):
            given = Path(config[name])
            file = folder / f"{name}{given.suffix if SUFFIX.fullmatch(given.suffix) else ''}"
            shutil.copyfile(given, file)
            inputs[file.name] = file
            config[name] = str(file)
        make = tasks.prepare(config, pipeline)
        hashes = {"ckpt": checksum} | {name: digest(Path(config[name])) for name in request.files(config)}
        # Names and no folders: a manifest is given away. The hashes say which files are meant.
        names = {"ckpt": path.name} | {name: Path(config[name]).name for name in request.files(config)}
        facts = manifest.describe(config, path, hashes, pipeline) | {"files": names}
        count = request.count_of(config)
        seeds = [None if task == "interpolate" else config.seed + place for place in range(count)]
        take = Take(number, TITLES[task], folder, facts, pipeline.sampling_rate, seeds, inputs)

        def work(watch: Watch) -> None:
            with self.working, torch.inference_mode():
                if session.stop.is_set():
                    raise Stopped
                make(watch)  # type: ignore[arg-type] # a kit in the command, here whoever watches

        return take, work


def tell(error: BaseException) -> str:
    """An error in words for a visitor: what they can mend, without the folders of this machine."""
    if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        return "Not enough memory for so much at once: take a shorter sound or fewer of them."
    if isinstance(error, ValueError | OSError | FloatingPointError):
        message = FOLDERS.sub("", str(error)).partition("\n")[0]
        return message[:1].upper() + message[1:]
    logger.error("the page met an error that it does not know", exc_info=error)
    return "Something went wrong here. The terminal that runs app.py says what."
