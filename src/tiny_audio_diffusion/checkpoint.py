"""Find models, read them whatever they are, make pipelines of them: damage is told, and no code in them is run."""

import copy
import logging
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor
from torch.overrides import TorchFunctionMode

from tiny_audio_diffusion import damage, export, foreign, settings
from tiny_audio_diffusion.command import ROOT
from tiny_audio_diffusion.diffusion import Diffusion
from tiny_audio_diffusion.foreign import files
from tiny_audio_diffusion.pipeline import Pipeline

OURS, EXPORT = "ours", "export"  # kinds of our own; foreign.read names the others

logger = logging.getLogger(__name__)


@dataclass
class Model:
    """A trained model, whatever file it was in; weights stay on disk until they are looked at."""

    path: Path
    kind: str
    config: DictConfig
    state_dict: dict[str, Tensor]  # the averaged weights, by the names of a Pipeline and a Module
    current_model_state: dict[str, Tensor] | None  # the weights in training, if the file has both
    step: int | None
    notes: list[str] = field(default_factory=list)  # what the file does not say and was assumed
    content: dict[str, Any] = field(default_factory=dict)  # all that a checkpoint of ours holds

    @property
    def level(self) -> float:
        """Of the sounds that it was trained on."""
        level = self.state_dict.get("representation.level")
        if level is None or level.numel() != 1 or not 0 < level.item() < math.inf:
            raise ValueError(f"the weights in {self.path} do not hold the level of its sounds")
        return float(level)


# Find.


def find(name: str, *, logs: str | Path, models: Path = ROOT / "saved_models") -> Path:
    """The file that `name` means: `last` for the newest run under `logs`, a file, a folder of a run or a model, or a
    model of the hub (kicks, owner/name), which is pulled into `models`.
    """
    if name == "last":
        return _in_run(_newest_run(Path(logs)))
    path = Path(name).expanduser()
    if not path.exists():
        from tiny_audio_diffusion import hub  # only here, because its client takes time to load

        pulled = hub.resolve(name, folder=models)
        if pulled is None:
            raise FileNotFoundError(
                f"there is no checkpoint {path.resolve()}; "
                "last takes the newest run's, kicks or owner/name one of the Hugging Face hub"
            )
        path = pulled
    return _file(path.resolve())


def _file(path: Path) -> Path:
    """The file of weights that a path means."""
    if (path / "checkpoints").is_dir():
        return _in_run(path / "checkpoints")
    if path.name == "checkpoints" and any((path / name).exists() for name in (damage.LAST, damage.PREVIOUS)):
        return _in_run(path)
    if export.is_export(path / export.WEIGHTS):
        return path / export.WEIGHTS
    return files.find(path)


def _newest_run(logs: Path) -> Path:
    found = [file for name in (damage.LAST, damage.PREVIOUS) for file in logs.glob(f"runs/*/*/checkpoints/{name}")]
    if not found:
        raise FileNotFoundError(
            f"no run under {logs.resolve()} has a checkpoint yet: train one (make quickstart), or give ckpt=<file>"
        )
    return max(found, key=lambda file: file.stat().st_mtime).parent.resolve()


def _in_run(folder: Path) -> Path:
    """The newest checkpoint of a run that is whole."""
    last, previous = folder / damage.LAST, folder / damage.PREVIOUS
    if not (wrong := _wrong(last)):
        return last
    if wrong_before := _wrong(previous):
        raise ValueError(
            f"{folder} holds no checkpoint that can be used: {last.name}: {wrong}; {previous.name}: {wrong_before}"
            + damage.neighbour(last)
        )
    logger.warning("%s: %s; taking %s, the one before", last, wrong, previous.name)
    return previous


def _wrong(file: Path) -> str:
    """What is wrong with a checkpoint of a run; an archive may be sound by its checksums and lost on torch."""
    return damage.found_in(file) or ("" if _content(file) is not None else "torch cannot read it")


# Read.


def read(path: Path, *, allow_pickle: bool = False) -> Model:
    """The model in a file or folder of any kind; `allow_pickle` runs code that a file of others may carry."""
    file = _file(path) if path.is_dir() else path
    if wrong := damage.found_in(file):
        raise ValueError(f"{file}: {wrong}{damage.neighbour(file)}")
    if export.is_export(file):
        return _exported(file)
    content = _content(file)
    if isinstance(content, dict) and isinstance(content.get("config"), str):
        return _own(file, content)
    try:
        if content is None and foreign.recognise(file) is None:
            raise ValueError(
                f"{file} is damaged, no checkpoint, or holds more than weights: nothing in it was run"
                + damage.neighbour(file)
            )
        found = foreign.read(file, allow_pickle=allow_pickle)
    except damage.READING as error:
        raise ValueError(f"{file} is damaged, or no file of weights ({_reason(error)})") from error
    settings.check(found.config, file)  # a config.yaml beside the weights had a part in it
    online = found.current_model_state
    return Model(file, found.kind, found.config, found.state_dict, online, found.step, found.notes)


def _content(file: Path) -> Any:
    """What torch has written, without running any code; None where that cannot be or where torch is older than 1.6."""
    if not zipfile.is_zipfile(file):
        return None
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (ValueError, *damage.READING):
        return None


def _own(file: Path, content: dict[str, Any]) -> Model:
    config, step = settings.parse(content["config"], file), content.get("global_step")
    online = content.get("current_model_state")
    for weights in (content.get("state_dict"), *([] if online is None else [online])):
        if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
            raise ValueError(f"{file} is no checkpoint of this project: its weights are something else")
    step = step if isinstance(step, int) else None
    return Model(file, OURS, config, content["state_dict"], online, step, content=content)


def _exported(file: Path) -> Model:
    weights, about = export.read(file)
    config = settings.parse(about["config"], file)
    beside = file.with_name(export.SETTINGS)
    if beside.is_file() and settings.parse(beside.read_text(encoding="utf-8", errors="replace"), beside) != config:
        raise ValueError(
            f"{beside} is not what {file.name} was exported with: remove it, and give other values to the command"
        )
    return Model(file, EXPORT, config, weights, None, int(about["step"]) if "step" in about else None)


def _reason(error: BaseException) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0]


def read_run(path: Path) -> Model:
    """A checkpoint that a run can go on from: of ours, with all that training needs."""
    model = read(path)
    if model.kind != OURS or model.step is None:
        raise ValueError(f"{path} holds weights and no run to go on with: use init={path} instead of ckpt=")
    return model


def check_weights(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path) -> None:
    """Raises ValueError, in a few lines, where weights are not exactly those that a network has."""
    if difference := foreign.explain_mismatch(expected, found):
        raise ValueError(f"the weights in {path} are not those of its network: {difference}")
    odd = [name for name, value in found.items() if not value.is_floating_point() or value.layout != torch.strided]
    if odd:
        raise ValueError(f"the weights in {path} are no plain numbers: {odd[0]}")


# Load.


class _NothingInside(TorchFunctionMode):
    """Layers take no memory for weights that will come from a file; what is computed, such as filters, is there."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        return function(*args, **(kwargs | {"device": "meta"} if function is torch.empty else kwargs))


def load_pipeline(path: Path, *, changes: DictConfig | None = None, allow_pickle: bool = False) -> Pipeline:
    """A pipeline with the averaged weights; `changes` replaces sampler, ladder, steps or threshold of the run."""
    model = read(path, allow_pickle=allow_pickle)
    for note in model.notes:
        logger.info("%s: %s", model.path, note)
    return build_pipeline(model, changes=changes)


def build_pipeline(model: Model, *, changes: DictConfig | None = None) -> Pipeline:
    """A pipeline with the averaged weights of a model that was read."""
    config = copy.deepcopy(model.config)
    for name, value in (changes or {}).items():
        config[name] = value
    try:
        with _NothingInside():
            pipeline = Pipeline(
                diffusion=Diffusion(
                    network=instantiate(config.network),
                    objective=instantiate(config.objective),
                    schedule=instantiate(config.noise),
                ),
                representation=instantiate(config.representation),
                sampler=instantiate(config.sampler),
                ladder=instantiate(config.ladder),
                steps=config.steps,
                sampling_rate=config.sampling_rate,
                channels=config.channels,
                length=config.length,
                threshold=config.get("threshold"),
            )
    except InstantiationException as error:
        raise ValueError(f"{model.path} cannot be built: {_reason(error.__cause__ or error)}") from error
    check_weights(pipeline.state_dict(), model.state_dict, model.path)
    # Copies, one by one: what comes from a file that is written over, or cut, while it is in use must not change.
    weights = {name: value.to(torch.float32, copy=True) for name, value in model.state_dict.items()}
    pipeline.load_state_dict(weights, assign=True)
    return pipeline.eval()
