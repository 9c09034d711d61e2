"""Write a folder of sounds as tar shards, which several nodes can stream from object storage.

    python utils/make_shards.py <folder of sounds> <output folder> [--sounds-per-shard 1000] [--seed 0]

Each sound keeps its bytes and its path below the folder; the name of its class folder lies beside it. The order is
random, so that each shard is a fair sample; index.json tells what every shard holds. To train on them:

    python train.py exp=one_shots datamodule=shards datamodule.dataset.path=<output folder>
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from tiny_audio_diffusion.audio import printable
from tiny_audio_diffusion.data.folder import class_name
from tiny_audio_diffusion.data.scan import EXTENSIONS, as_roots, find, progress
from tiny_audio_diffusion.data.tar import INDEX, webdataset


def make_shards(folder: Path, output: Path, *, sounds_per_shard: int, seed: int) -> dict[str, list[str]]:
    """Write all sounds below the folder, or nothing; return the names of those in each shard."""
    if sounds_per_shard < 1:
        raise ValueError(f"--sounds-per-shard must be at least 1, not {sounds_per_shard}")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"{output.absolute()} is there already: choose a new or empty folder")
    roots = as_roots(folder)
    paths = [Path(path) for path in find(roots, recursive=True).sounds]
    if not paths:
        raise ValueError(f"no sound in {folder.absolute()}\nlooked for {' '.join(EXTENSIONS)} in any case")
    keys = unique_keys([path.relative_to(roots[0]) for path in paths])
    shuffled = np.random.default_rng(seed).permutation(len(paths))
    parts = np.array_split(shuffled, -(-len(paths) // sounds_per_shard))  # as equal as can be
    shards: dict[str, list[str]] = {}
    output.parent.mkdir(parents=True, exist_ok=True)
    # Made beside the output and then renamed, so that an interrupted run leaves nothing half done.
    with (
        tempfile.TemporaryDirectory(prefix=".shards_", dir=output.parent) as place,
        progress("writing", len(paths)) as bar,
    ):
        made = Path(place, "shards")
        made.mkdir()
        for number, part in enumerate(parts):
            name = f"{number:06d}.tar"
            write_shard(made / name, [(paths[index], keys[index]) for index in part], roots)
            shards[name] = [keys[index] + paths[index].suffix for index in part]
            bar.update(len(part))
        classes = sorted({class_name(str(path), roots) for path in paths} - {""})
        (made / INDEX).write_text(json.dumps({"classes": classes, "shards": shards}) + "\n")
        if output.exists():
            output.rmdir()
        made.replace(output)
    return shards


def unique_keys(paths: list[Path]) -> list[str]:
    """A path without its ending for each path; WebDataset ends a key at its first dot, so there is no other."""
    keys: dict[str, None] = {}
    for path in paths:
        plain = path.with_name(path.stem.replace(".", "_")).as_posix()
        key, again = plain, 1
        while key in keys:  # kick.wav beside kick.flac
            again += 1
            key = f"{plain}_{again}"
        keys[key] = None
    return list(keys)


def write_shard(target: Path, sounds: list[tuple[Path, str]], roots: list[Path]) -> None:
    """Write one tar of sounds under their keys, each with its class."""
    # Without the time of writing: the same sounds make the same shards.
    with webdataset().TarWriter(str(target), mtime=0, format="PAX_FORMAT") as writer:
        for path, key in sounds:
            label = class_name(str(path), roots)
            writer.write({"__key__": key, path.suffix[1:]: path.read_bytes()} | ({"cls": label} if label else {}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="sounds; the first folder below it names a sound's class")
    parser.add_argument("output", type=Path, help="a new or empty folder")
    parser.add_argument("--sounds-per-shard", type=int, default=1000, help="at most (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="other seeds mix them otherwise (default: %(default)s)")
    arguments = parser.parse_args()
    options = {"sounds_per_shard": arguments.sounds_per_shard, "seed": arguments.seed}
    try:
        shards = make_shards(arguments.folder, arguments.output, **options)
    except (ValueError, OSError) as error:
        parser.exit(1, f"{error}\n")
    count = sum(len(names) for names in shards.values())
    print(f"wrote {count} sounds in {len(shards)} shards and {INDEX} to {printable(arguments.output.absolute())}")


if __name__ == "__main__":
    main()
