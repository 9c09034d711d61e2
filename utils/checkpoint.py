"""Look into a model's file, hand the model on as a small folder, or publish it on the Hugging Face hub.

    python utils/checkpoint.py inspect last
    python utils/checkpoint.py export last outputs/kicks --half
    python utils/checkpoint.py push outputs/kicks owner/name --licence cc-by-4.0 --trained-on "512 kicks of my own"

A model is whatever ckpt= takes: a file, a folder of a run or a model, last, kicks or owner/name of the hub.
"""

import argparse
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from tiny_audio_diffusion import audio, checkpoint, command, export, plot
from tiny_audio_diffusion.checkpoint import Model
from tiny_audio_diffusion.foreign import files
from tiny_audio_diffusion.watch import Bar

KINDS = {
    checkpoint.OURS: "a checkpoint of ours, which training can go on from",
    checkpoint.EXPORT: "an export of ours",
    "tiny-audio-diffusion": "a checkpoint of the published tiny-audio-diffusion",
    "audio-diffusion-pytorch": "a UNetV0 of audio-diffusion-pytorch 0.1",
    "dance-diffusion": "Dance Diffusion, a .ckpt",
    "dance-diffusion-diffusers": "Dance Diffusion, of diffusers",
}


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    inspecting = commands.add_parser("inspect", help="say what a file, a folder or a model of the hub holds")
    exporting = commands.add_parser("export", help="write the averaged weights and the settings into a folder")
    pushing = commands.add_parser("push", help="publish a model with sounds and a page that describes it")
    for subparser, action in ((inspecting, inspect), (exporting, write), (pushing, push)):
        subparser.set_defaults(action=action)
        subparser.add_argument("model", help="a file, a folder, last, kicks, or owner/name of the hub")
    exporting.add_argument("folder", type=Path)
    exporting.add_argument("--half", action="store_true", help="weights in float16: half the size")
    exporting.add_argument("--overwrite", action="store_true", help="replace the model that is in the folder")
    pushing.add_argument("name", help="owner/name on the hub")
    pushing.add_argument("--licence", required=True, help="such as cc-by-4.0, cc0-1.0 or mit")
    pushing.add_argument("--trained-on", required=True, help="a sentence on the sounds, and whose they are")
    pushing.add_argument("--title", help="of the page; the name if left out")
    pushing.add_argument("--samples", type=int, default=4, help="sounds on the page, default %(default)s")
    pushing.add_argument("--private", action="store_true", help="visible to you alone")
    for subparser in (inspecting, exporting, pushing):
        subparser.add_argument(
            "--allow-pickle", action="store_true", help="read files that run code: trust their maker"
        )
    return parser.parse_args()


def opened(arguments: argparse.Namespace) -> Model:
    """The model that the command line names."""
    file = checkpoint.find(arguments.model, logs=f"{command.ROOT}{os.environ['DIR_LOGS']}")
    return checkpoint.read(file, allow_pickle=arguments.allow_pickle)


def inspect(arguments: argparse.Namespace) -> None:
    """Print all that is known of a model, once it is sure that its weights fit its network."""
    model = opened(arguments)
    for name, text in described(model, allow_pickle=arguments.allow_pickle):
        print(f"{name:<15} {text}")


def described(model: Model, *, allow_pickle: bool) -> list[tuple[str, str]]:
    """Lines of a name and a text."""
    config, pipeline = model.config, checkpoint.build_pipeline(model)
    parameters = sum(parameter.numel() for parameter in pipeline.parameters())
    conditions = [name for name, needed in getattr(pipeline.diffusion.network, "takes", {}).items() if needed]
    sets = "averaged" if model.kind == checkpoint.EXPORT else "one set"
    if model.current_model_state is not None:
        sets = "averaged, and those in training"
    return [
        ("file", str(model.path)),
        ("size", f"{model.path.stat().st_size / 1e6:.1f} MB"),
        ("kind", KINDS[model.kind]),
        ("experiment", str(config.get("experiment"))),
        ("steps", "unknown" if model.step is None else f"{model.step} of the optimizer"),
        ("weights", f"{sets}; {precision(model, allow_pickle=allow_pickle)}"),
        ("network", f"{part(config.network)}, {parameters:,} parameters"),
        ("objective", part(config.objective)),
        ("noise", f"{part(config.noise)} in training"),
        ("representation", f"{part(config.representation)}, level {model.level:.4g}"),
        ("sampling", f"{part(config.sampler)}, {part(config.ladder)}, {config.steps} evaluations of the network"),
        ("sampling rate", f"{config.sampling_rate} Hz"),
        ("length", f"{config.length} samples, {config.length / config.sampling_rate:.2f} seconds"),
        ("channels", str(config.channels)),
        ("conditions", ", ".join(conditions) or "none, and no classes"),
        *(("note", note) for note in model.notes),
    ]


def part(settings: DictConfig) -> str:
    """`Euler(eta=1.0)`: a class and what it is built with."""
    content: Any = OmegaConf.to_container(settings)
    name = content.pop("_target_").rpartition(".")[2]
    return f"{name}({', '.join(f'{key}={value}' for key, value in content.items() if value is not None)})"


def precision(model: Model, *, allow_pickle: bool) -> str:
    """What most of the numbers in the file are, before they became float32."""
    weights: Mapping[str, Any] = model.state_dict
    if model.kind not in (checkpoint.OURS, checkpoint.EXPORT):
        content = files.load(model.path, allow_pickle=allow_pickle)
        weights = content.get("state_dict", content)
    counts: dict[torch.dtype, int] = {}
    for value in weights.values():
        if isinstance(value, torch.Tensor):
            counts[value.dtype] = counts.get(value.dtype, 0) + value.numel()
    return str(max(counts, key=lambda dtype: counts[dtype])).removeprefix("torch.")


def write(arguments: argparse.Namespace) -> None:
    """Export a model."""
    model = opened(arguments)
    exported(model, arguments.folder, half=arguments.half, overwrite=arguments.overwrite)
    size = sum(file.stat().st_size for file in (arguments.folder / name for name in (export.WEIGHTS, export.SETTINGS)))
    print(f"{export.WEIGHTS} and {export.SETTINGS}, {size / 1e6:.1f} MB, are in {arguments.folder.resolve()}")


def exported(model: Model, folder: Path, *, half: bool, overwrite: bool) -> None:
    """The averaged weights as generation uses them."""
    weights = checkpoint.build_pipeline(model).state_dict()
    export.write(folder, weights, config=model.config, step=model.step, half=half, overwrite=overwrite)


def push(arguments: argparse.Namespace) -> None:
    """Publish a model; an exported folder keeps the sounds and the page that were made for it."""
    from tiny_audio_diffusion import hub  # takes time to load

    if not hub.is_hub_name(arguments.name) or arguments.name in hub.SHORT or "@" in arguments.name:
        raise ValueError(f"{arguments.name} cannot be pushed to: give owner/name")
    if arguments.samples < 1:
        raise ValueError("--samples must be at least 1")
    model = opened(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = model.path.parent if model.kind == checkpoint.EXPORT else Path(temporary)
        if model.kind != checkpoint.EXPORT:
            exported(model, folder, half=False, overwrite=False)
        describe(folder, arguments)
        print(f"pushed to {hub.push(folder, arguments.name, private=arguments.private)}")


def describe(folder: Path, arguments: argparse.Namespace) -> None:
    """Sounds, their picture and the page of an exported model."""
    from tiny_audio_diffusion.model_card import model_card

    pipeline = checkpoint.load_pipeline(folder).to("cuda" if torch.cuda.is_available() else "cpu")
    with torch.inference_mode():
        sounds = pipeline.generate(arguments.samples, batch_size=4, watch=Bar("sounds"))
    for old in (folder / "samples").glob("sound_*.wav"):
        old.unlink()
    audio.write_all(folder / "samples", sounds, pipeline.sampling_rate)
    plot.contact_sheet(sounds, pipeline.sampling_rate, folder / "sheet.png")
    page = folder / "README.md"
    if page.exists():
        print(f"{page} stays as it is: remove it for a new one")
        return
    text = model_card(
        checkpoint.read(folder).config,
        title=arguments.title or arguments.name.rpartition("/")[2],
        samples=[f"samples/sound_{index:03d}.wav" for index in range(arguments.samples)],
        sheet="sheet.png",
        licence=arguments.licence,
        trained_on=arguments.trained_on,
        metrics={},
    )
    page.write_text(text, encoding="utf-8")


@command.friendly
def main() -> None:
    arguments = parse()
    command.prepare()
    arguments.action(arguments)


if __name__ == "__main__":
    main()
