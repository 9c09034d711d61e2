"""Files that were cut, changed, emptied or made to do harm: told in a few lines, never run, never another model."""

import os
import pickle
import random
import struct
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import models
import pytest
import torch
from torch import Tensor

from tiny_audio_diffusion import checkpoint, storage

Change = Callable[[bytes, random.Random], bytes]


def cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def flip(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def flip_in_directory(data: bytes, chance: random.Random) -> bytes:
    """Where an archive says what it holds, at its end, a change does most."""
    start = data.rindex(b"PK\x01\x02", 0, len(data) - 2000)
    changed = bytearray(data)
    changed[chance.randrange(start, len(data))] = chance.randrange(256)
    return bytes(changed)


def blank(data: bytes, chance: random.Random) -> bytes:
    """A block that the disk has lost."""
    start = chance.randrange(len(data) // 512) * 512
    return data[:start] + bytes(len(data[start : start + 512])) + data[start + 512 :]


def leave_out(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    return data[:start] + data[start + chance.randint(1, 2000) :]


def repeat(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    return data[:start] + data[start - chance.randint(1, 2000) :]


def append(data: bytes, chance: random.Random) -> bytes:
    return data + chance.randbytes(chance.randint(1, 2000))


def replace(data: bytes, chance: random.Random) -> bytes:
    text = b"version https://git-lfs.github.com/spec/v1\n"
    return chance.choice([b"", text, bytes(len(data)), chance.randbytes(3000), data[:4], data[::-1]])


CHANGES: tuple[Change, ...] = (cut, flip, flip, flip_in_directory, blank, leave_out, repeat, append, replace)


def weights_of(path: Path) -> dict[str, Tensor] | None:
    """The weights of the pipeline that a file makes, or None where an error tells of it in a few lines."""
    try:
        return dict(checkpoint.load_pipeline(path).state_dict())
    except ValueError as error:
        told = str(error)
    assert 1 <= len(told.splitlines()) <= 15
    assert str(path if path.is_dir() else path.parent) in told
    return None


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of ours."""
    return models.write("ours", tmp_path_factory.mktemp("own"))


def test_two_hundred_corruptions(own: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one_shots" / "now" / "checkpoints"
    folder.mkdir(parents=True)
    last, previous = folder / "last.ckpt", folder / "previous.ckpt"
    models.write_own(previous, seed=1)
    data, expected, before = own.read_bytes(), weights_of(own), weights_of(previous)
    assert expected is not None
    assert before is not None
    assert not same(expected, before)
    told = 0
    for seed in range(200):
        chance = random.Random(seed)
        last.write_bytes(CHANGES[seed % len(CHANGES)](data, chance))
        named = weights_of(last)
        found = checkpoint.find("last", logs=tmp_path)
        assert found == (previous if named is None else last), f"seed {seed}"
        told += named is None
        if named is not None:
            assert same(named, expected), f"seed {seed}"
    assert 100 < told < 200  # some changes hit what nobody reads


def test_corrupted_exports(tmp_path: Path) -> None:
    folder = models.write("export", tmp_path)
    expected = weights_of(folder)
    assert expected is not None
    for name, count in (("model.safetensors", 60), ("config.yaml", 30)):
        data = (folder / name).read_bytes()
        for seed in range(count):
            change = CHANGES[seed % len(CHANGES)]
            if change is not flip_in_directory:
                (folder / name).write_bytes(change(data, random.Random(seed)))
                found = weights_of(folder / "model.safetensors")
                assert found is None or same(found, expected), f"{name}, seed {seed}"
        (folder / name).write_bytes(data)


@pytest.mark.parametrize("kind", ["harmonai", "diffusers"])
def test_corrupted_files_of_others(kind: str, tmp_path: Path) -> None:
    file = checkpoint.find(str(models.write(kind, tmp_path)), logs="nowhere")
    data, expected = file.read_bytes(), weights_of(file)
    assert expected is not None
    for seed, change in enumerate((cut, cut, leave_out, append, replace, replace, blank, flip, repeat) * 2):
        file.write_bytes(change(data, random.Random(seed)))
        found = weights_of(file)
        if kind == "harmonai":  # the others have no checksums
            assert found is None or same(found, expected), f"seed {seed}"


def test_corrupted_files_of_old_torch(tmp_path: Path) -> None:
    state = models.lively(models.under_our_names(models.DanceUNet(**models.DANCE).state_dict()))
    path = tmp_path / "old.ckpt"
    torch.save({"state_dict": models.to_harmonai(state)}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    assert weights_of(path) is not None
    for seed in range(40):
        chance = random.Random(seed)
        path.write_bytes(cut(data, chance) if seed % 2 else flip(data[:40_000], chance) + data[40_000:])
        weights_of(path)


# Made to do harm.


class Spell:
    """Makes a folder when it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def test_nothing_in_a_file_is_run(own: Path, tmp_path: Path) -> None:
    proof, path = tmp_path / "proof", tmp_path / "evil.ckpt"
    content = checkpoint.read(own).content
    for evil in (
        content | {"spell": Spell(proof)},
        content | {"config": Spell(proof)},
        content | {"state_dict": Spell(proof)},
        Spell(proof),
    ):
        for new_format in (True, False):
            torch.save(evil, path, _use_new_zipfile_serialization=new_format)
            assert weights_of(path) is None
        path.write_bytes(pickle.dumps(Spell(proof)))
        assert weights_of(path) is None
    assert not proof.exists()


def bomb(path: Path, *, member: str, megabytes: int) -> None:
    """A checkpoint's archive with a member of so many zeros, which were compressed."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)  # can be repeated
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl" if member != "archive/data.pkl" else "archive/version", b"\x80\x02}q\x00.")
        archive.writestr(member, block * megabytes + packer.flush())
    data = bytearray(path.read_bytes())
    local, listed = data.rindex(b"PK\x03\x04"), data.rindex(b"PK\x01\x02")
    for start, method, size in ((local, 8, 22), (listed, 10, 24)):
        struct.pack_into("<H", data, start + method, zipfile.ZIP_DEFLATED)
        struct.pack_into("<I", data, start + size, min(megabytes * 2**20, 2**32 - 2))
    path.write_bytes(data)


@pytest.mark.parametrize("member", ["archive/data.pkl", "archive/data/0"])
def test_a_small_file_that_swells(member: str, own: Path, tmp_path: Path) -> None:
    path = tmp_path / "bomb.ckpt"
    bomb(path, member=member, megabytes=4095)
    assert path.stat().st_size < 8e6
    with zipfile.ZipFile(path) as archive, archive.open(member) as stream:  # it is one
        assert stream.read(2**21) == bytes(2**21)
    tracemalloc.start()
    started = time.monotonic()
    assert weights_of(path) is None
    assert time.monotonic() - started < 1
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_a_directory_that_lists_the_same_over_and_over(own: Path, tmp_path: Path) -> None:
    path = tmp_path / "bomb.ckpt"
    path.write_bytes(own.read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        archive.filelist *= 300
        archive.comment = b"changed"  # so that it is written anew
    assert len(zipfile.ZipFile(path).infolist()) > 10_000
    started = time.monotonic()
    assert weights_of(path) is None
    assert time.monotonic() - started < 2


def test_a_tensor_that_claims_more_than_it_has(own: Path, tmp_path: Path) -> None:
    name = "diffusion.network.levels.0.skip.weight"
    content = checkpoint.read(own).content
    wide = torch.zeros(1).expand(10**6, 10**6)  # four terabytes, and one number on disk
    storage.write(content | {"state_dict": content["state_dict"] | {name: wide}}, tmp_path / "wide.ckpt")
    assert weights_of(tmp_path / "wide.ckpt") is None
