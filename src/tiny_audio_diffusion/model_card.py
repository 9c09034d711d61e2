"""The page of a model on the hub: what it was trained on, how it sounds, how to use it, and its settings."""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from tiny_audio_diffusion.hub import LIBRARY, PLACEHOLDER

# Of the licences that the hub knows, those that sounds and models come under; others go by a name of their own.
LICENCES = (
    *("apache-2.0", "mit", "bsd-3-clause", "mpl-2.0", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "unlicense", "openrail"),
    *("cc0-1.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nd-4.0"),
    *("cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "other", "unknown"),
)
# The hub has no task of this kind (pipeline_tag): models that make sounds from nothing are found by this tag.
TAGS = ("tiny-audio-diffusion", "audio", "diffusion", "unconditional-audio-generation")
FILES = f"https://huggingface.co/{PLACEHOLDER}/resolve/main"  # a player needs a full address, links and pictures do not


def model_card(
    config: DictConfig,
    *,
    title: str,
    samples: Sequence[str],
    sheet: str | None,
    licence: str,
    trained_on: str,
    metrics: Mapping[str, float | str],
) -> str:
    """README.md of a model: `samples` and `sheet` are paths in its folder, `metrics` what was measured."""
    players = [f'<audio controls src="{FILES}/{quote(path)}"></audio> {_link(path)}' for path in samples]
    picture = [f"![Waveforms over mel spectrograms]({quote(sheet)})"] if sheet else []
    seconds = config.length / config.sampling_rate
    channels = {1: "mono", 2: "stereo"}.get(config.channels, f"{config.channels} channels")
    sections = {
        f"# {_line(title)}": [
            f"A diffusion model of waveforms. It makes sounds of {seconds:.2f} seconds, {channels},"
            f" at {config.sampling_rate} Hz."
        ],
        "## Trained on": [trained_on.strip()],
        "## Sounds": players + picture,
        "## Use": [
            "With the code of tiny-audio-diffusion, new sounds, and a model of your own that starts from this one:",
            f"```bash\npython generate.py ckpt={PLACEHOLDER} count=16\n"
            f"python train.py exp=finetune init={PLACEHOLDER} datamodule.dataset.path=/path/to/sounds\n```",
        ],
        "## Settings": [_table(_settings(config))],
        "## Measured": [_table(metrics)] if metrics else [],
    }
    parts = ["\n\n".join([heading, *content]) for heading, content in sections.items() if content]
    return f"---\n{_front_matter(licence)}---\n\n" + "\n\n".join(parts) + "\n"


def _front_matter(licence: str) -> str:
    """What the hub reads, as YAML."""
    name = re.sub(r"[^a-z0-9.]+", "-", licence.lower()).strip("-.")
    if not name:
        raise ValueError(f"licence={licence!r} says nothing: give one of {', '.join(LICENCES)}, or a name of its own")
    known = {"license": name} if name in LICENCES else {"license": "other", "license_name": name}
    return OmegaConf.to_yaml(OmegaConf.create({**known, "library_name": LIBRARY, "tags": list(TAGS)}))


def _settings(config: DictConfig) -> dict[str, str]:
    with torch.device("meta"):  # counted without memory
        parameters = sum(weight.numel() for weight in instantiate(config.network).parameters())
    parts = {
        "network": "network",
        "objective": "objective",
        "representation": "representation",
        "noise levels in training": "noise",
        "sampler": "sampler",
        "noise levels in sampling": "ladder",
    }
    return {
        **{name: f"`{_part(config[key])}`" for name, key in parts.items() if config.get(key) is not None},
        "parameters": f"{parameters:,}",
        "steps": f"{config.steps} network evaluations per sound",
        "sampling rate": f"{config.sampling_rate} Hz",
        "channels": str(config.channels),
        "length": f"{config.length} samples",
    }


def _part(part: DictConfig) -> str:
    """A part as it is built: class and arguments, without those that are left to it."""
    content: Any = OmegaConf.to_container(part, resolve=True)
    kind = content.pop("_target_").rpartition(".")[2]
    return f"{kind}({', '.join(f'{key}={value}' for key, value in content.items() if value is not None)})"


def _table(rows: Mapping[str, float | str]) -> str:
    lines = [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def _cell(value: float | str) -> str:
    return _line(f"{value:.4g}" if isinstance(value, float) else str(value)).replace("|", "\\|")


def _line(text: str) -> str:
    return " ".join(text.split())


def _link(path: str) -> str:
    return f"[{path.rpartition('/')[2]}]({quote(path)})"
