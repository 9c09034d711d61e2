"""The configuration of a run with a foreign network: the published experiment with what is known of the other's."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from tiny_audio_diffusion.command import ROOT


def configuration(choices: Sequence[str] = (), *, values: Mapping[str, Any], name: str) -> DictConfig:
    """exp=drum_diffusion with other choices and values, resolved; `values` are by their dotted place."""
    config = _composed(choices)
    with open_dict(config):
        for place, value in values.items():
            OmegaConf.update(config, place, value, merge=False)
        config.experiment = name
        config.logs_dir, config.data_dir = str(ROOT / "logs"), str(ROOT / "data")  # of no meaning: nothing ran here
        config.run_folder = str(ROOT / "logs" / "runs" / name)
    return DictConfig(OmegaConf.create(OmegaConf.to_container(config, resolve=True)))


def _composed(choices: Sequence[str]) -> DictConfig:
    """Composes also where Hydra is already in use by the command that asks."""
    experiments = QuotedString(f"file://{ROOT}", Quote.single).with_quotes()
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
            return compose("config", ["exp=drum_diffusion", *choices, f"hydra.searchpath=[{experiments}]"])
    finally:
        GlobalHydra.instance().hydra = running


def settings(path: Path) -> DictConfig:
    """A YAML or JSON file; nothing that it names is built."""
    try:
        loaded = OmegaConf.load(path)
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML file: {error}") from error
    if not isinstance(loaded, DictConfig):
        raise ValueError(f"{path} holds no settings by name")
    return loaded


def chosen(loaded: DictConfig, place: str) -> Any:
    """The plain value at a dotted place, or None where there is none."""
    value = OmegaConf.select(loaded, place)
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
