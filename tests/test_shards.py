"""Sounds in tar shards: written, found, streamed, and gone on with."""

import io
import json
import shlex
import shutil
import sys
import tarfile
import threading
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from sounds import RATE, make_augment, make_transforms
from torch.utils.data import DataLoader

from tiny_audio_diffusion.data import shards as shards_module
from tiny_audio_diffusion.data.datamodule import DataModule
from tiny_audio_diffusion.data.folder import Batch
from tiny_audio_diffusion.data.order import Plan, place, split
from tiny_audio_diffusion.data.shards import SoundShards, deal, mixed, size
from tiny_audio_diffusion.data.tar import INDEX, webdataset
from utils.make_shards import main, make_shards

LENGTH = 2_048
PLAN = Plan(batch_size=3, seed=0, balance=False, on_error="raise", validation_fraction=0.2)
SKIP = replace(PLAN, on_error="skip")
CONFIG = Path(__file__).parents[1] / "configs" / "datamodule" / "shards.yaml"


def wave(index: int, *, length: int = 3_000) -> bytes:
    """A sound of its own for each index, as the bytes of a file."""
    time = np.arange(length) / RATE
    target = io.BytesIO()
    soundfile.write(target, 0.5 * np.sin(2 * np.pi * (200 + 10 * index) * time), RATE, format="WAV")
    return target.getvalue()


SILENCE = b"RIFF" + wave(0)[4:44] + bytes(6_000)


def make_folder(folder: Path, count: int) -> Path:
    for index in range(count):
        place = folder / ("kick", "snare", "tom")[index % 3] / f"hit_{index:03d}.wav"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(wave(index))
    return folder


def make_set(folder: Path, count: int = 40, *, sounds_per_shard: int = 4) -> Path:
    """Shards of `count` sounds with their index."""
    sounds = make_folder(folder / "sounds", count)
    make_shards(sounds, folder / "shards", sounds_per_shard=sounds_per_shard, seed=0)
    return folder / "shards"


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return path


def opened(path: Any, **options: Any) -> SoundShards:
    usual: dict[str, Any] = {"augment": make_augment(), "labels": "folder", "index": None}
    return SoundShards(path, make_transforms(length=LENGTH, channels=1), **usual | options)


def batches(sounds: SoundShards, plan: Plan, count: int, *, workers: int = 0) -> list[Batch]:
    return list(islice(DataLoader(sounds.training(plan), batch_size=None, num_workers=workers), count))


def names(drawn: list[Batch]) -> list[str]:
    return [path for batch in drawn for path in batch["path"]]


def all_training(sounds: SoundShards) -> set[str]:
    """Every sound that is trained on, by the name it has in batches."""
    arriving = sounds.arriving(sounds.sides(PLAN)[0])
    return {member.name for _, _, member in arriving}


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server of the folder `shards`; of a file called half.tar it sends one half and hangs up."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            if not self.path.endswith("half.tar"):
                return super().do_GET()
            data = Path(self.translate_path(self.path)).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 1024 * 512])
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "shards")))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="addresses are read with curl")


# Written


def test_shards_hold_the_sounds_unchanged(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "sounds", 10)
    written = make_shards(folder, tmp_path / "shards", sounds_per_shard=4, seed=0)
    assert [len(some) for some in written.values()] == [4, 3, 3]
    found: dict[str, bytes] = {}
    for name, sounds in written.items():
        with tarfile.open(tmp_path / "shards" / name) as tar:
            content = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
        assert set(content) == {place for sound in sounds for place in (sound, sound.replace(".wav", ".cls"))}
        assert all(content[sound.replace(".wav", ".cls")].decode() == sound.split("/")[0] for sound in sounds)
        found |= {sound: content[sound] for sound in sounds}
    assert found == {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.wav")}
    index = json.loads((tmp_path / "shards" / INDEX).read_text())
    assert index == {"classes": ["kick", "snare", "tom"], "shards": written}
    assert list(found) != sorted(found)
    again = make_shards(folder, tmp_path / "again", sounds_per_shard=4, seed=0)
    assert again == written
    assert (tmp_path / "again" / "000001.tar").read_bytes() == (tmp_path / "shards" / "000001.tar").read_bytes()
    assert make_shards(folder, tmp_path / "other", sounds_per_shard=4, seed=1) != written


def test_names_stay_apart(tmp_path: Path) -> None:
    places = ["a/hit.wav", "b/hit.wav", "a/hit.WAV", "a/hit.1.wav", "a/hit.2.wav", "a/hit_1.wav", "ä/ü ö.wav"]
    for index, path in enumerate(places):
        (tmp_path / "sounds" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sounds" / path).write_bytes(wave(index))
    make_shards(tmp_path / "sounds", tmp_path / "shards", sounds_per_shard=10, seed=0)
    with (tmp_path / "shards" / "000000.tar").open("rb") as file:  # as other users of the layout read it
        library = webdataset().tariterators
        read = list(library.group_by_keys({**some, "__url__": ""} for some in library.tar_file_iterator(file)))
    assert len({sample["__key__"] for sample in read}) == len(places)
    assert {sample["wav"] for sample in read} == {wave(index) for index in range(len(places))}
    assert {sample["cls"].decode() for sample in read} == {"a", "b", "ä"}


def test_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder(tmp_path / "sounds", 6)
    (folder / "tom" / "hit_005.wav").unlink()
    (folder / "tom" / "hit_005.wav").symlink_to(tmp_path / "nowhere.wav")
    with pytest.raises(FileNotFoundError):
        make_shards(folder, tmp_path / "shards", sounds_per_shard=2, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["sounds"]
    (folder / "tom" / "hit_005.wav").unlink()
    (tmp_path / "shards").mkdir()
    monkeypatch.setattr(sys, "argv", ["make_shards.py", str(folder), str(tmp_path / "shards")])
    main()
    assert {path.name for path in (tmp_path / "shards").iterdir()} == {"000000.tar", INDEX}
    with pytest.raises(SystemExit) as stopped:  # now the folder is not empty
        main()
    assert stopped.value.code == 1
    with pytest.raises(ValueError, match="no sound in"):
        make_shards(tmp_path / "shards", tmp_path / "more", sounds_per_shard=2, seed=0)
    with pytest.raises(ValueError, match="at least 1"):
        make_shards(folder, tmp_path / "more", sounds_per_shard=0, seed=0)


# Found


def test_every_way_to_name_shards_gives_the_same(tmp_path: Path) -> None:
    folder = make_set(tmp_path, 10)
    expected = names(batches(opened(str(folder)), PLAN, 4))
    pattern = str(folder / "{000000..000002}.tar")
    ways = [pattern, sorted(str(path) for path in folder.glob("*.tar")), f"pipe:cat {pattern}"]
    index = str(folder / INDEX)
    for way in ways:
        assert names(batches(opened(way), PLAN, 4)) == expected
        assert names(batches(opened(way, index=index), PLAN, 4)) == expected
    assert names(batches(opened(pattern, index=f"pipe:cat {index}"), PLAN, 4)) == expected
    (folder / "my 000001.tar").write_bytes((folder / "000001.tar").read_bytes())
    assert "my 000001.tar/" in str(every_sound(opened([str(folder / "my 000001.tar")])))
    (folder / "my 000001.tar").unlink()
    (folder / INDEX).unlink()
    for way in ways:
        sounds = opened(way)
        assert sounds.classes == ["kick", "snare", "tom"]
        assert names(batches(sounds, PLAN, 4)) == expected


@needs_curl
def test_shards_at_an_address(tmp_path: Path, served: str) -> None:
    folder = make_set(tmp_path, 10)
    expected = batches(opened(str(folder)), PLAN, 4)
    pattern = served + "/{000000..000002}.tar"
    assert names(batches(opened(pattern), PLAN, 4)) == names(expected)
    (folder / INDEX).unlink()
    sounds = opened(pattern)
    found = batches(sounds, PLAN, 4)
    assert names(found) == names(expected)
    assert torch.equal(found[3]["audio"], expected[3]["audio"])
    (folder / "000001.tar").rename(folder / "half.tar")
    for missing in (sounds.training(PLAN), None):
        with pytest.raises(ValueError, match=r"000001\.tar .*(status 22)"):
            list(islice(missing, 9)) if missing else opened(pattern)
    with pytest.raises(ValueError, match=r"half\.tar to its end: .*(status 18)"):
        opened(f"{served}/half.tar")
    (folder / INDEX).write_text("<html>")
    with pytest.raises(ValueError, match="is no index of shards"):
        opened(pattern)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nothing", "there is no shard .*nothing"),
        ("shards/{000000..000003}.tar", r"there is no shard .*000003\.tar"),
        ("empty", r"no \*\.tar in .*empty"),
        ([], "no shards are given"),
        ("incomplete", r"there is no shard .*000002\.tar"),
        (["shards", "shards/000001.tar"], r"000001\.tar is given twice"),
        ("pipe:false", "cannot read pipe:false to its end: its command ended with status 1"),
        ("pipe:echo drums.tar", "cannot read pipe:echo drums.tar"),
        ("s3://drums/000.tar", "s3://drums/000.tar: no gopen handler"),
    ],
)
def test_shards_that_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str | list[str], message: str
) -> None:
    make_set(tmp_path, 9)
    (tmp_path / "empty").mkdir()
    shutil.copytree(tmp_path / "shards", tmp_path / "incomplete")
    (tmp_path / "incomplete" / "000002.tar").unlink()
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        opened(path)


def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_set(tmp_path, 4)
    monkeypatch.setitem(sys.modules, "webdataset", None)
    for path in (folder, folder / "000000.tar", folder / "{000000..000000}.tar", "pipe:cat a.tar"):
        with pytest.raises(ValueError, match="pip install webdataset"):
            opened(str(path))


def test_classes(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    first = {
        "a.cls": b"rim\n",
        "a.wav": wave(0),
        "b.json": b'{"class": "bell"}',
        "b.wav": wave(1),
        "tom/c.wav": wave(2),
    }
    other = {
        "d.FLAC": wave(3),
        "d.json": b"[]",
        "._d.wav": b"litter",
        "note.txt": b"none",
        "./tom/kick 0.5.wav": wave(4),
    }
    write_tar(folder / "1.tar", first)
    write_tar(folder / "2.tar", other)
    sounds = opened(str(folder))
    assert sounds.classes == ["bell", "rim", "tom"]
    found = {sound["path"]: sound["label"] for sound in every_sound(sounds)}
    assert found == {
        "1.tar/a.wav": 1,
        "1.tar/b.wav": 0,
        "1.tar/tom/c.wav": 2,
        "2.tar/d.FLAC": -1,
        "2.tar/./tom/kick 0.5.wav": 2,
    }
    plain = opened(str(folder), labels=None)
    assert plain.classes == []
    assert {sound["label"] for sound in every_sound(plain)} == {0}
    with pytest.raises(ValueError, match="labels must be"):
        opened(str(folder), labels="name")
    write_tar(folder / "3.tar", {"e.json": b"{", "e.wav": wave(5)})
    with pytest.raises(ValueError, match=r"3\.tar/e: its class cannot be read"):
        opened(str(folder))
    write_tar(folder / "3.tar", {"e.wav": wave(5), "e.flac": wave(5)})
    with pytest.raises(ValueError, match=r"3\.tar/e stands for several sounds \(wav, flac\)"):
        opened(str(folder))
    write_tar(folder / "3.tar", {"e.cls": b"tom"})
    with pytest.raises(ValueError, match="no sound in 1 shards"):
        opened(str(folder / "3.tar"))


def every_sound(sounds: SoundShards) -> list[Any]:
    arriving = sounds.arriving([(shard, np.arange(10)) for shard in range(len(sounds.shards))])
    return [sounds.prepare(PLAN, index, member) for _, index, member in arriving]


# Streamed


@pytest.mark.parametrize("reach", [1, 2, 10, 100])
def test_mixed(reach: int) -> None:
    order = list(mixed(50, reach, [1, 2]))
    assert sorted(order) == list(range(50))
    assert all(number < turn + reach for turn, number in enumerate(order))  # no more than that has to wait
    assert (order == list(range(50))) == (reach == 1)
    assert order == list(mixed(50, reach, [1, 2]))
    assert reach == 1 or order != list(mixed(50, reach, [1, 3]))


@pytest.mark.parametrize("sounds_per_shard", [3, 13, 40])
def test_streams_share_no_sound_and_cover_all(tmp_path: Path, sounds_per_shard: int) -> None:
    sounds = opened(str(make_set(tmp_path, sounds_per_shard=sounds_per_shard)), buffer_gigabytes=8 * LENGTH * 4 / 1e9)
    pieces, _ = sounds.sides(PLAN)
    shares = [[size(deal(pieces, PLAN.seed, visit, number, 4)) for visit in range(3)] for number in range(4)]
    plan = replace(PLAN, batch_size=1)
    met: list[set[str]] = [set(), set(), set()]
    for rank in range(2):
        drawn = names(batches(sounds, replace(plan, rank=rank, world_size=2), 2 * max(map(sum, shares)), workers=2))
        for worker in range(2):
            own = iter(drawn[worker::2])  # a loader asks its workers in turn
            for visit, share in enumerate(shares[2 * rank + worker]):
                some = list(islice(own, share))
                assert len(some) == len(set(some) - met[visit])
                met[visit] |= set(some)
    assert met == [all_training(sounds)] * 3


@pytest.mark.parametrize("count", [1, 3, 9, 10])
def test_few_sounds_reach_every_stream(count: int) -> None:
    pieces = [(shard, some) for shard, some in enumerate(np.array_split(np.arange(count), 3)) if len(some)]
    shares = np.array([[size(deal(pieces, 0, visit, number, 4)) for number in range(4)] for visit in range(4)])
    assert (shares.sum(axis=1) == count).all()
    assert (shares.max(axis=1) - shares.min(axis=1) <= 1).all()
    assert (shares.sum(axis=0) == count).all()  # in turn


def test_each_pass_has_an_order_of_its_own(tmp_path: Path) -> None:
    sounds = opened(str(make_set(tmp_path)))
    count = sounds.counts(PLAN)[0]
    plan = replace(PLAN, batch_size=1)
    drawn = names(batches(sounds, plan, 3 * count))
    passes = [drawn[start : start + count] for start in (0, count, 2 * count)]
    assert [set(some) for some in passes] == [all_training(sounds)] * 3
    assert len({tuple(some) for some in passes}) == 3
    assert drawn != names(batches(sounds, replace(plan, seed=1), 3 * count))
    assert drawn == names(batches(opened(str(tmp_path / "shards")), plan, 3 * count))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("sounds_per_shard", [4, 40])
def test_resuming_goes_on_with_the_next_batch(tmp_path: Path, sounds_per_shard: int, workers: int) -> None:
    buffer = 8 * LENGTH * 4 / 1e9
    folder = str(make_set(tmp_path, sounds_per_shard=sounds_per_shard))
    sounds = opened(folder, augment=make_augment(gain_decibels=6), buffer_gigabytes=buffer)
    plan = replace(PLAN, rank=1, world_size=2)
    whole = batches(sounds, plan, 24, workers=workers)
    versions: dict[str, set[float]] = {}
    for batch in whole:
        for path, audio in zip(batch["path"], batch["audio"], strict=True):
            versions.setdefault(path, set()).add(audio.abs().max().item())
    assert max(map(len, versions.values())) > 1  # in several passes, at another level in each
    for done in (1, 2, 7, 18):
        start = done * plan.batch_size * plan.world_size
        rest = batches(sounds, replace(plan, start=start), 6, workers=workers)
        for one, other in zip(rest, whole[done:], strict=False):
            assert one["path"] == other["path"]
            assert torch.equal(one["label"], other["label"])
            assert torch.equal(one["audio"], other["audio"])


def test_what_is_skipped_is_neither_decoded_nor_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sounds = opened(str(make_set(tmp_path)), buffer_gigabytes=4 * LENGTH * 4 / 1e9)
    count = sounds.counts(PLAN)[0]
    decoded, read = [], []
    original, members = SoundShards._decoded, shards_module.members

    def counted(self: SoundShards, seed: int, data: bytes, visit: int | None) -> torch.Tensor:
        decoded.append(data)
        return original(self, seed, data, visit)

    def told(shard: str) -> Any:
        read.append(shard)
        return members(shard)

    monkeypatch.setattr(SoundShards, "_decoded", counted)
    monkeypatch.setattr(shards_module, "members", told)
    batches(sounds, replace(PLAN, batch_size=1, start=1_000 * count + count - 2), 2)
    assert len(decoded) == 2
    assert 1 <= len(read) <= 4


def test_a_stream_is_not_read_ahead(tmp_path: Path) -> None:
    """A shard that is made while it is read: no more of it is asked for than has to wait."""
    script, told = tmp_path / "endless.py", tmp_path / "told"
    (tmp_path / "hit.wav").write_bytes(wave(0, length=20_000))
    script.write_text(
        "import io, pathlib, sys, tarfile\n"
        "hit, told = pathlib.Path(sys.argv[1]).read_bytes(), pathlib.Path(sys.argv[2])\n"
        "with tarfile.open(fileobj=sys.stdout.buffer, mode='w|') as tar:\n"
        "    for index in range(400):\n"
        "        header = tarfile.TarInfo(f'{index}.wav')\n"
        "        header.size = len(hit)\n"
        "        tar.addfile(header, io.BytesIO(hit))\n"
        "        with told.open('ab') as file:\n"
        "            file.write(b'.')\n"
    )
    index = {"classes": [], "shards": {"endless.tar": [f"{number}.wav" for number in range(400)]}}
    (tmp_path / INDEX).write_text(json.dumps(index))
    command = shlex.join([sys.executable, str(script), str(tmp_path / "hit.wav"), str(told)])
    command = f"pipe:{command} 2> /dev/null # endless.tar"  # it complains when nobody reads on
    sounds = opened(command, index=str(tmp_path / INDEX), buffer_gigabytes=64 * LENGTH * 4 / 1e9)
    assert sounds.reach == 64
    stream = iter(sounds.training(PLAN))
    assert next(stream)["audio"].shape == (3, 1, LENGTH)
    assert told.stat().st_size < 100
    tracemalloc.start()
    for _ in range(80):
        next(stream)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert told.stat().st_size > 200
    assert peak < 1.5e6 < 64 * 40_000  # bytes: their short crops wait, and not the files themselves
    del stream


def test_validation_is_never_trained_on(tmp_path: Path) -> None:
    folder = make_set(tmp_path)
    sounds = opened(str(folder))
    held_out = sounds.validation(PLAN, 100)
    assert sounds.counts(PLAN) == (40 - len(held_out), len(held_out))
    paths = {sound["path"] for sound in held_out}
    assert paths
    assert not paths & all_training(sounds)
    files = sorted(path.name for path in (tmp_path / "sounds").rglob("*.wav"))
    expected = {files[index] for index in split(files, range(len(files)), PLAN.validation_fraction)[1]}
    assert {Path(path).name for path in paths} == expected  # those that a folder holds out
    first = sounds.validation(PLAN, 2)
    assert [sound["path"] for sound in first] == [sound["path"] for sound in held_out[:2]]
    assert first[0]["audio"].shape == (1, LENGTH)
    assert sounds.classes[first[0]["label"]] == first[0]["path"].split("/")[1]


@pytest.mark.parametrize("fraction", [0.001, 0.999])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_no_side_is_empty(tmp_path: Path, count: int, fraction: float) -> None:
    for same in (False, True):  # sounds of one name share their place
        members = {f"{index}/hit.wav" if same else f"{index}.wav": wave(index) for index in range(count)}
        write_tar(tmp_path / f"{same}.tar", members)
        sounds = opened(str(tmp_path / f"{same}.tar"))
        plan = replace(PLAN, validation_fraction=fraction)
        assert sum(sounds.counts(plan)) == max(count, 2)
        assert all(sounds.counts(plan))


def test_training_audio(tmp_path: Path) -> None:
    sounds = opened(str(make_set(tmp_path)), augment=make_augment(gain_decibels=6))
    plain = opened(str(tmp_path / "shards"))
    assert torch.equal(sounds.training_audio(PLAN, 6), torch.cat([some["audio"] for some in batches(plain, PLAN, 2)]))
    assert len(sounds.training_audio(PLAN, 99)) == sounds.counts(PLAN)[0]
    assert torch.equal(sounds.training_audio(replace(PLAN, rank=1, world_size=2), 6), sounds.training_audio(PLAN, 6))
    with pytest.raises(ValueError, match="at least 1"):
        sounds.training_audio(PLAN, 0)


def test_random_crops_change_from_pass_to_pass(tmp_path: Path) -> None:
    write_tar(tmp_path / "1.tar", {"a.wav": wave(0, length=20_000)})
    sounds = opened(str(tmp_path / "1.tar"))
    sounds.transforms.random_crop = True
    one, two, three = (some["audio"] for some in batches(sounds, replace(PLAN, batch_size=1), 3))
    assert not torch.equal(one, two)
    assert not torch.equal(two, three)
    again = batches(sounds, replace(PLAN, batch_size=1, start=2), 1)
    assert torch.equal(again[0]["audio"], three)


# Gone wrong


@pytest.fixture
def with_bad_sounds(tmp_path: Path) -> SoundShards:
    """Twelve sounds in two shards, a silent and an unreadable one among those to train on."""
    for shard in range(2):
        some = range(6 * shard, 6 * shard + 6)
        bad = {2: SILENCE, 7: b"no sound at all"}
        write_tar(tmp_path / f"{shard}.tar", {f"{index}.wav": bad.get(index, wave(index)) for index in some})
    return opened(str(tmp_path))


def test_a_bad_sound_stops_the_run(with_bad_sounds: SoundShards) -> None:
    with pytest.raises(
        ValueError, match=r"0\.tar/2\.wav: silent|1\.tar/7\.wav: unreadable.*\(datamodule.on_error=skip"
    ):
        batches(with_bad_sounds, PLAN, 8)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_sound_is_left_out(with_bad_sounds: SoundShards, tmp_path: Path, workers: int) -> None:
    sounds = with_bad_sounds
    training = all_training(sounds)
    bad = {"0.tar/2.wav", "1.tar/7.wav"}
    assert bad < training
    drawn = batches(sounds, SKIP, 2 * len(training), workers=workers)
    assert all(len(batch["path"]) == len(batch["audio"]) == len(batch["label"]) == 3 for batch in drawn)
    assert set(names(drawn)) == training - bad
    assert {message.split(":")[0] for batch in drawn for message in batch["failed"]} == bad
    first = names(drawn)[: len(training) - 2]
    assert workers or set(first) == training - bad  # nothing stands in for them
    sounds.write_report(tmp_path / "report.csv")
    held_out = sounds.held_out.reshape(2, 6).sum(axis=1)
    rows = [f"{tmp_path}/{shard}.tar,6,{held_out[shard]},1" for shard in range(2)]
    assert (tmp_path / "report.csv").read_text().splitlines() == ["path,sounds,held_out,failed", *rows]


@pytest.mark.parametrize("files", [1, 3])
def test_nothing_usable(tmp_path: Path, files: int, caplog: pytest.LogCaptureFixture) -> None:
    for shard in range(files):
        write_tar(tmp_path / f"{shard}.tar", {f"{shard}{index}.wav": SILENCE for index in range(5)})
    sounds = opened(str(tmp_path))
    with pytest.raises(ValueError, match=r"none of the sounds can be used: \d\.tar"):
        sounds.validation(SKIP, 3)
    with pytest.raises(ValueError, match="none of the sounds can be used"):
        sounds.training_audio(SKIP, 3)
    assert "left out: " in caplog.text
    with pytest.raises(ValueError, match=r"none of the \d+ sounds can be used"):
        batches(opened(str(tmp_path)), SKIP, 1)
    loader = iter(DataLoader(opened(str(tmp_path)).training(SKIP), batch_size=None, num_workers=2))
    for _ in range(2):
        with pytest.raises(ValueError, match="none of the"):
            next(loader)
    assert next(loader, None) is None


@pytest.mark.parametrize("command", ["", "pipe:cat "])
def test_a_shard_that_is_cut_off(tmp_path: Path, command: str) -> None:
    whole = make_set(tmp_path, 8, sounds_per_shard=8) / "000000.tar"
    data = whole.read_bytes()
    with tarfile.open(whole) as tar:
        fifth = tar.getmembers()[9].offset
    short = tmp_path / "000000.tar"
    index = str(whole.parent / INDEX)
    # Inside of a sound, inside of a header, and between two sounds, where tar itself notices nothing.
    for end in (fifth + 2_000, fifth + 100, fifth, 100, 0):
        short.write_bytes(data[:end])
        with pytest.raises(ValueError, match=r"cannot read .*000000\.tar to its end"):
            opened(f"{command}{short}")
        sounds = opened(f"{command}{short}", index=index)
        with pytest.raises(ValueError, match=r"000000\.tar (to its end|ends after 4 of its 8 sounds)"):
            batches(sounds, PLAN, 9)
    short.write_bytes(data[:fifth] + b"?" * 512 + data[fifth + 512 :])
    with pytest.raises(ValueError, match="broken"):
        opened(f"{command}{short}")
    short.write_bytes(data)
    sounds = opened(f"{command}{short}")
    short.unlink()
    with pytest.raises(ValueError, match=r"cannot (read|open) .*000000\.tar"):
        batches(sounds, PLAN, 1)


def test_a_shard_whose_end_only_validation_needs_is_cut_off(tmp_path: Path) -> None:
    some = [f"{index}.wav" for index in range(100)]
    held_out = [name for name in some if place(name) < PLAN.validation_fraction][:2]
    training = [name for name in some if place(name) > PLAN.validation_fraction][:4]
    shard = write_tar(tmp_path / "1.tar", {name: wave(0) for name in training + held_out})
    sounds = opened(str(shard))
    assert sounds.counts(PLAN) == (4, 2)
    shard.write_bytes(shard.read_bytes()[:35_000])  # within the last of six
    with pytest.raises(ValueError, match=r"1\.tar to its end"):
        batches(sounds, PLAN, 2)


def test_an_index_of_other_shards(tmp_path: Path) -> None:
    folder = make_set(tmp_path, 8)
    content = json.loads((folder / INDEX).read_text())
    content["shards"]["000000.tar"].reverse()
    (folder / INDEX).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"000000\.tar holds other sounds than its index"):
        batches(opened(str(folder)), PLAN, 9)
    (folder / INDEX).write_text(json.dumps({"classes": ["kick"], "shards": {}}))
    assert opened(str(folder)).classes == ["kick", "snare", "tom"]  # shards that it does not name are read
    with pytest.raises(ValueError, match=r"cannot open .*none\.json"):
        opened(str(folder), index=str(tmp_path / "none.json"))
    (folder / INDEX).write_text("{}")
    with pytest.raises(ValueError, match="is no index of shards"):
        opened(str(folder))


# Together with the rest


def test_datamodule(tmp_path: Path) -> None:
    values = {"data_dir": str(tmp_path), "sampling_rate": RATE, "length": LENGTH, "channels": 2}
    training = {"datamodule": OmegaConf.load(CONFIG), "batch_size": 4, "seed": 0, "num_workers": 0}
    config = OmegaConf.create(values | training)
    make_set(tmp_path)
    datamodule = instantiate(config.datamodule)
    assert isinstance(datamodule, DataModule)
    batch = next(iter(datamodule.train_dataloader()))
    assert batch["audio"].shape == (4, 2, LENGTH)
    assert batch["label"].dtype == torch.int64
    assert torch.equal(batch["audio"], datamodule.training_audio(4))
    held_out = [path for some in datamodule.val_dataloader() for path in some["path"]]
    assert held_out
    assert isinstance(datamodule.dataset, SoundShards)
    assert not set(held_out) & all_training(datamodule.dataset)
    config.datamodule.balance = True
    with pytest.raises(InstantiationException, match="cannot be balanced"):
        instantiate(config.datamodule)
