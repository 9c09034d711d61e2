"""What lies in tar shards (the layout of WebDataset), be they files, at addresses or behind commands."""

import json
import logging
import posixpath
import re
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path, PurePosixPath
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple

from tiny_audio_diffusion.audio import BLOCK, printable
from tiny_audio_diffusion.data.scan import EXTENSIONS, progress, why_ignored

INDEX = "index.json"  # {"classes": [name, …], "shards": {name of the shard: [name of each sound, …]}}
CLASS_FILES = (".cls", ".json")  # beside a sound, under the same name
SHARD_NAME = re.compile(r"[^/\s'\"=?&]+\.tar")  # in an address or a command
PATIENCE_SECONDS = 2  # for a command to end by itself

logger = logging.getLogger(__name__)
File = dict[str, Any]  # {"fname": name, "data": bytes, "__url__": shard}


class Listing(NamedTuple):
    """What shards hold: the classes, and the names of the sounds in each."""

    classes: frozenset[str] = frozenset()
    shards: Mapping[str, list[str]] = MappingProxyType({})


class Member(NamedTuple):
    """One sound as it lies in a shard; `label` is the name of its class, or nothing."""

    name: str
    data: bytes
    label: str


def webdataset() -> ModuleType:
    """The library, which only those who use shards need."""
    try:
        return import_module("webdataset")
    except ImportError as error:
        raise ValueError("shards need one more package: pip install webdataset") from error


def find_shards(path: str | Iterable[str]) -> list[str]:
    """What a folder, a pattern such as data/{000..031}.tar, an address, a command or a list of them stands for."""
    shards = [shard for one in ([path] if isinstance(path, str) else path) for shard in expand(one)]
    if not shards:
        raise ValueError("no shards are given: set datamodule.dataset.path=<folder or pattern>")
    if len(set(shards)) < len(shards):
        twice = next(shard for shard in shards if shards.count(shard) > 1)
        raise ValueError(f"{printable(twice)} is given twice: its sounds would come twice in a pass")
    for shard in shards:
        if is_local(shard) and not Path(shard).is_file():
            raise FileNotFoundError(f"there is no shard {printable(shard)}")
    return shards


def expand(path: str) -> list[str]:
    """The shards that one path stands for; local ones are absolute."""
    if not is_local(path):
        return list(webdataset().shardlists.expand_urls(path))
    place = Path(path).expanduser().absolute()
    if place.is_dir():
        found = {shard.name for shard in place.glob("*.tar") if not shard.name.startswith(".")}
        found |= set(read_index(str(place / INDEX), needed=False).shards)  # one that is gone must not be passed over
        if not found:
            raise ValueError(f"no *.tar in {printable(place)}: write shards with utils/make_shards.py")
        return [str(place / name) for name in sorted(found)]
    return [str(place)] if place.is_file() else list(webdataset().shardlists.expand_urls(str(place)))


def is_local(shard: str) -> bool:
    """Whether it is a path, and no address or command."""
    return not shard.startswith("pipe:") and "://" not in shard


def short_name(shard: str) -> str:
    """A shard's file name, also where it stands in an address or a command."""
    found = [Path(shard).name] if is_local(shard) else SHARD_NAME.findall(shard)
    return found[-1] if found else shard


def look_through(shards: list[str], index: str | None) -> tuple[list[list[str]], set[str]]:
    """The names of the sounds in each shard, and all classes: as an index tells, else as the shards themselves do."""
    names: list[list[str]] = []
    classes: set[str] = set()
    indices: dict[str, Listing] = {}
    with progress("looking into shards", len(shards)) as bar:
        for shard in shards:
            where = index or place_of_index(shard)
            if where not in indices:
                indices[where] = read_index(where, needed=index is not None)
            listing = indices[where]
            if short_name(shard) not in listing.shards:
                listing = contents(shard)
            names.append(listing.shards[short_name(shard)])
            classes |= listing.classes
            bar.update()
    return names, classes


def place_of_index(shard: str) -> str:
    """Where a shard's index lies, if it has one: beside it; a command is not guessed at."""
    return "" if shard.startswith("pipe:") else f"{shard.rpartition('/')[0]}/{INDEX}"


def read_index(where: str, *, needed: bool) -> Listing:
    """What an index tells; nothing where there is none and none is needed."""
    if not needed and (not where or (is_local(where) and not Path(where).is_file())):
        return Listing()
    try:
        with opened(where) as stream:
            text = stream.read()
    except ValueError as error:
        if needed:
            raise
        logger.info("%s; so every shard is read through once to know its sounds", error)
        return Listing()
    try:
        found = json.loads(text)
        return Listing(frozenset(found["classes"]), {name: list(names) for name, names in found["shards"].items()})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{printable(where)} is no index of shards: utils/make_shards.py writes one") from error


def contents(shard: str) -> Listing:
    """What one shard holds: a file's headers are read, an address or a command is streamed to its end."""
    members = list(grouped(shard, headers(shard)))
    return Listing(
        frozenset(member.label for member in members) - {""}, {short_name(shard): [member.name for member in members]}
    )


def members(shard: str) -> Iterator[Member]:
    """The sounds of a shard, one after the other."""
    return grouped(shard, files(shard))


def grouped(shard: str, found: Iterable[File]) -> Iterator[Member]:
    """The sounds among files, each with its class; what belongs together stands together."""

    def refuse(error: Exception) -> None:
        raise ValueError(f"{printable(shard)}: {error.args[0]}") from error

    def split(name: str) -> tuple[str, str]:
        # At the last dot, unlike the library: "kick 0.5.wav" is a usual name.
        stem, ending = posixpath.splitext(name)
        return stem, ending[1:]

    for group in webdataset().tariterators.group_by_keys(found, keys=split, lcase=False, handler=refuse):
        name = f"{printable(shard)}/{printable(group['__key__'])}"
        endings = [ending for ending in group if f".{ending}".lower() in EXTENSIONS]
        if len(endings) > 1:
            raise ValueError(f"{name} stands for several sounds ({', '.join(endings)}): each needs a name of its own")
        if endings:
            try:
                label = label_of(group)
            except ValueError as error:
                raise ValueError(f"{name}: its class cannot be read: {error}") from error
            yield Member(f"{group['__key__']}.{endings[0]}", group[endings[0]], label)


def label_of(group: File) -> str:
    """A sound's class: the text of its .cls, `class` of its .json, else the first folder in its name."""
    if "cls" in group:
        return str(group["cls"].decode()).strip()
    if "json" in group:
        facts = json.loads(group["json"])
        return str(facts["class"]) if isinstance(facts, dict) and "class" in facts else ""
    folders = PurePosixPath(group["__key__"]).parts[:-1]
    return printable(folders[0]) if folders else ""


def is_wanted(name: str) -> bool:
    """Whether a file in a shard is a sound or tells its class."""
    base = posixpath.basename(name)
    return not why_ignored(base) or (base.endswith(CLASS_FILES) and not base.startswith("."))


def files(shard: str) -> Iterator[File]:
    """Each file of a shard, in one stream."""
    with opened(shard) as stream:
        for file in webdataset().tariterators.tar_file_iterator(stream, skip_meta=None, select_files=is_wanted):
            yield file | {"__url__": shard}


def headers(shard: str) -> Iterator[File]:
    """Each file of a shard without its content, those apart that tell a class."""

    class Header(tarfile.TarInfo):
        """Remembers the last block: tarfile takes a broken header for the end, which is marked by zeros."""

        last = b""

        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "Header":
            Header.last = bytes(buf)
            return super().frombuf(buf, encoding, errors)

    with (
        opened(shard) as stream,
        tarfile.open(fileobj=stream, mode="r:*" if is_local(shard) else "r|*", tarinfo=Header) as tar,
    ):
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined] # the headers of a large shard fill the memory
            if member.isreg() and is_wanted(member.name):
                content = tar.extractfile(member) if member.name.endswith(CLASS_FILES) else None
                yield {"fname": member.name, "data": content.read() if content else b"", "__url__": shard}
        if Header.last != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("broken, or cut off before its end")


@contextmanager
def opened(shard: str) -> Iterator[Any]:
    """A stream of bytes; `ValueError` names a shard that cannot be opened, or not read to its end."""
    try:
        stream = webdataset().gopen(shard)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot open {printable(shard)}: {error}") from error
    try:
        yield stream
        while stream.read(BLOCK):  # to the very end: only then does a command tell whether it succeeded
            pass
        stream.close()
    except (tarfile.TarError, OSError) as error:
        raise ValueError(f"cannot read {printable(shard)} to its end: {reason(stream, error)}") from error
    finally:
        if hasattr(stream, "proc"):
            stream.ignore_errors = True  # a command that is left early complains of that
        stream.close()


def reason(stream: Any, error: Exception) -> str:
    """Why a stream ended early: a command's own failure, if it has failed."""
    if hasattr(stream, "proc"):
        with suppress(subprocess.TimeoutExpired):
            if status := stream.proc.wait(PATIENCE_SECONDS):
                return f"its command ended with status {status}"
    return str(error).partition("\n")[0].partition(" @ ")[0].rstrip(":")
