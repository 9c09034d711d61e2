"""A folder as a set of sounds: labels, what is kept where, what happens when files change."""

import logging
import os
import pickle
import shutil
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from sounds import LENGTH, RATE, hit, make_augment, make_sounds, make_transforms, open_folder
from test_order import make_plan

from tiny_audio_diffusion.data import facts, index
from tiny_audio_diffusion.data.folder import SoundFolder


def batches(dataset: SoundFolder, count: int, **options: object) -> list[dict]:
    return list(islice(dataset.training(make_plan(**options)), count))  # type: ignore[arg-type]


def test_labels(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    make_sounds(tmp_path / "snare" / "rim", 1)
    make_sounds(tmp_path / "kick", 2)
    dataset = open_folder(tmp_path)
    assert (dataset.classes, dataset.catalogue.labels.tolist()) == (["kick", "snare"], [0, 0, 1])
    make_sounds(tmp_path, 1)
    (tmp_path / "tom").mkdir()
    caplog.clear()
    assert open_folder(tmp_path).catalogue.labels.tolist() == [-1, 0, 0, 1]
    assert "1 sounds lie outside of the class folders: label -1" in caplog.text
    assert "class folders without a usable sound: tom" in caplog.text
    assert "1 without a class, 2 kick, 1 snare" in caplog.text
    assert open_folder(tmp_path / "kick").catalogue.labels.tolist() == [0, 0]
    unlabelled = open_folder(tmp_path, labels=None)
    assert (unlabelled.classes, unlabelled.catalogue.labels.tolist()) == ([], [0, 0, 0, 0])
    with pytest.raises(ValueError, match="labels must be folder or null"):
        open_folder(tmp_path, labels="file")


def test_where_sounds_are_kept_changes_nothing(tmp_path: Path) -> None:
    make_sounds(tmp_path / "sounds", 5)
    memory = open_folder(tmp_path / "sounds")
    disk = open_folder(tmp_path / "sounds", memory_gigabytes=0, disk_gigabytes=1, cache_folder=tmp_path / "cache")
    nowhere = open_folder(tmp_path / "sounds", memory_gigabytes=0)
    assert (memory.in_memory, disk.in_memory, nowhere.in_memory) == (True, False, False)
    for dataset in (disk, disk, nowhere, pickle.loads(pickle.dumps(memory.training(make_plan())))):
        own = list(islice(dataset, 3)) if not isinstance(dataset, SoundFolder) else batches(dataset, 3)
        for one, other in zip(batches(memory, 3), own, strict=True):
            assert torch.equal(one["audio"], other["audio"])
            assert one["path"] == other["path"]
            assert torch.equal(one["label"], other["label"])
    assert len(list((tmp_path / "cache").rglob("*.f32"))) == disk.counts(make_plan())[0]


def test_nothing_old_is_served(tmp_path: Path) -> None:
    sounds = make_sounds(tmp_path / "sounds", 2)
    options = {"memory_gigabytes": 0, "disk_gigabytes": 1, "cache_folder": tmp_path / "cache"}
    before = open_folder(sounds, **options).prepared.get(0)
    quiet = open_folder(sounds, transforms=make_transforms(peak=-20), **options).prepared.get(0)
    assert quiet.abs().max() == pytest.approx(0.1, rel=1e-4)
    soundfile.write(sounds / "hit_0.wav", hit(7), RATE)
    after = open_folder(sounds, **options).prepared.get(0)
    assert not torch.allclose(before, after)
    assert torch.equal(after, open_folder(sounds).prepared.get(0))


def test_a_damaged_store_is_made_again(tmp_path: Path) -> None:
    sounds = make_sounds(tmp_path / "sounds", 1)
    options = {"memory_gigabytes": 0, "disk_gigabytes": 1, "cache_folder": tmp_path / "cache"}
    before = open_folder(sounds, **options).prepared.get(0)
    (kept,) = (tmp_path / "cache").rglob("*.f32")
    kept.write_bytes(kept.read_bytes()[:100])
    assert torch.equal(open_folder(sounds, **options).prepared.get(0), before)
    assert kept.stat().st_size == before.numel() * 4


def test_the_store_keeps_to_its_budget(tmp_path: Path) -> None:
    sounds = make_sounds(tmp_path / "sounds", 4)
    gigabytes = 10 * 2 * LENGTH * 4 / 1e9  # room for ten sounds
    for peak in (-3, -6, -9, -12):
        options = {"disk_gigabytes": gigabytes, "cache_folder": tmp_path / "cache"}
        open_folder(sounds, transforms=make_transforms(peak=peak), **options)
        os.utime(max((tmp_path / "cache" / "prepared").iterdir(), key=os.path.getmtime), (peak + 1e9, peak + 1e9))
        assert len(list((tmp_path / "cache").rglob("*.f32"))) <= 10
    assert len(list((tmp_path / "cache" / "prepared").iterdir())) == 2
    nothing = open_folder(sounds, memory_gigabytes=0, disk_gigabytes=gigabytes / 10, cache_folder=tmp_path / "other")
    assert "nowhere" in nothing.prepared.place


def test_a_disk_that_takes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sounds = make_sounds(tmp_path / "sounds", 3)
    (tmp_path / "cache").write_text("not a folder")
    dataset = open_folder(sounds, memory_gigabytes=0, disk_gigabytes=1, cache_folder=tmp_path / "cache")
    assert len(batches(dataset, 3)) == 3
    assert caplog.text.count("not remembered in") == 1
    assert caplog.text.count("not kept in") == 1


def test_a_file_is_read_again_only_when_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sounds = make_sounds(tmp_path / "sounds", 3)
    (sounds / "bad.wav").write_text("no sound")
    read: list[str] = []
    real = facts.examine

    def counting(path: str) -> facts.Facts:
        read.append(Path(path).name)
        return real(path)

    monkeypatch.setattr("tiny_audio_diffusion.data.scan.examine", counting)
    first = open_folder(sounds, cache_folder=tmp_path / "cache")
    assert sorted(read) == ["bad.wav", "hit_0.wav", "hit_1.wav", "hit_2.wav"]
    second = open_folder(sounds, cache_folder=tmp_path / "cache")
    assert len(read) == 4
    for name in ("report_1", "report_2"):
        (first if name == "report_1" else second).write_report(tmp_path / name)
    assert (tmp_path / "report_1").read_text() == (tmp_path / "report_2").read_text()
    same_size = (sounds / "hit_1.wav").stat()
    soundfile.write(sounds / "hit_1.wav", hit(5), RATE)
    os.utime(sounds / "hit_1.wav", ns=(same_size.st_atime_ns, same_size.st_mtime_ns))  # even with its time set back
    third = open_folder(sounds, cache_folder=tmp_path / "cache")
    assert read[4:] == ["hit_1.wav"]
    assert third.catalogue.digests[1] != second.catalogue.digests[1]


def test_a_broken_index_costs_nothing_but_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sounds = make_sounds(tmp_path / "sounds", 2)
    file = index.Index(tmp_path / "cache").file
    assert file is not None
    file.write_bytes(b"junk" * 1000)
    assert len(open_folder(sounds, cache_folder=tmp_path / "cache")) == 2
    assert "not remembered" in caplog.text


def test_duplicates_are_named_and_lie_on_one_side(tmp_path: Path) -> None:
    make_sounds(tmp_path, 8)
    for number in range(8):
        shutil.copy(tmp_path / f"hit_{number}.wav", tmp_path / f"another name {number}.wav")
        audio, rate = soundfile.read(tmp_path / f"hit_{number}.wav")
        soundfile.write(tmp_path / f"as flac {number}.flac", audio, rate)
    dataset = open_folder(tmp_path)
    assert dataset.report.kinds["the same sound as"] == 16
    digests = dataset.catalogue.digests
    training, validation = dataset.sides(0.3)
    assert len(training) + len(validation) == 24
    assert not set(digests[training]) & set(digests[validation])


def test_later_errors(tmp_path: Path) -> None:
    sounds = make_sounds(tmp_path, 4)
    dataset = open_folder(sounds, memory_gigabytes=0)
    indices = dataset.training(make_plan()).indices
    gone = dataset.catalogue.paths[int(indices[0])]
    Path(gone).unlink()
    with pytest.raises(ValueError, match=rf"{Path(gone).name} is gone since .*on_error=skip"):
        batches(dataset, 3)
    skipping = batches(dataset, 3, on_error="skip")
    assert all(batch["audio"].shape == (4, 2, LENGTH) for batch in skipping)
    assert all(gone not in batch["path"] for batch in skipping)
    assert sum(len(batch["failed"]) for batch in skipping) == 4  # one in each pass of three, 12 draws
    for path in sounds.iterdir():
        path.write_text("changed")
    with pytest.raises(ValueError, match=r"none of the sounds can be read any more: .* has changed"):
        batches(dataset, 1, on_error="skip")


def test_skipping_goes_on_while_one_sound_is_left(tmp_path: Path) -> None:
    dataset = open_folder(make_sounds(tmp_path, 3), memory_gigabytes=0)
    training = dataset.training(make_plan()).indices.tolist()
    Path(dataset.catalogue.paths[training[0]]).unlink()
    drawn = batches(dataset, 40, batch_size=1, on_error="skip")
    assert {path for batch in drawn for path in batch["path"]} == {dataset.catalogue.paths[training[1]]}


def test_skipping_reaches_validation(tmp_path: Path) -> None:
    dataset = open_folder(make_sounds(tmp_path, 8), memory_gigabytes=0)
    first, second = dataset.sides(0.4)[1][:2]
    Path(dataset.catalogue.paths[first]).unlink()
    skipping = dataset.validation(make_plan(validation_fraction=0.4, on_error="skip"), 2)
    assert [sound["path"] for sound in (skipping[0], skipping[1])] == [dataset.catalogue.paths[second]] * 2
    with pytest.raises(ValueError, match=r"is gone since .*on_error=skip"):
        _ = dataset.validation(make_plan(validation_fraction=0.4), 2)[0]


@pytest.mark.parametrize("value", [float("nan"), 0.0, 2.0])
def test_stored_sounds_that_cannot_be_are_made_again(tmp_path: Path, value: float) -> None:
    sounds = make_sounds(tmp_path / "sounds", 1)
    options = {"memory_gigabytes": 0, "disk_gigabytes": 1, "cache_folder": tmp_path / "cache"}
    before = open_folder(sounds, **options).prepared.get(0)
    (kept,) = (tmp_path / "cache").rglob("*.f32")
    np.full(before.numel(), value, dtype=np.float32).tofile(kept)
    assert torch.equal(open_folder(sounds, **options).prepared.get(0), before)


def test_what_may_be_another_sound_is_not_stored(tmp_path: Path) -> None:
    sounds = make_sounds(tmp_path / "sounds", 1)
    options = {"memory_gigabytes": 0, "disk_gigabytes": 1, "cache_folder": tmp_path / "cache"}
    dataset = open_folder(sounds, **options)
    seen = (sounds / "hit_0.wav").stat()
    soundfile.write(sounds / "hit_0.wav", hit(5), RATE)
    os.utime(sounds / "hit_0.wav", ns=(seen.st_atime_ns, seen.st_mtime_ns))  # of the same size and time as before
    dataset.prepared.get(0)
    assert not list((tmp_path / "cache").rglob("*.f32"))


def test_augmentation_by_sound_and_visit(tmp_path: Path) -> None:
    make_sounds(tmp_path, 3)
    plain, augmented = open_folder(tmp_path), open_folder(tmp_path, augment=make_augment(gain_decibels=12))
    assert (plain.in_memory, augmented.in_memory) == (True, False)
    visits: dict[str, list[float]] = {}
    for batch in batches(augmented, 6, batch_size=2, validation_fraction=0.01):
        for path, audio in zip(batch["path"], batch["audio"], strict=True):
            visits.setdefault(path, []).append(audio.abs().max().item())
    assert len(visits) == 2
    assert all(len(set(peaks)) == 6 for peaks in visits.values())
    in_pairs = batches(augmented, 6, batch_size=2, validation_fraction=0.01)
    one_by_one = batches(augmented, 12, batch_size=1, validation_fraction=0.01)
    assert torch.equal(torch.cat([b["audio"] for b in in_pairs]), torch.cat([b["audio"] for b in one_by_one]))
    assert torch.equal(augmented.training_audio(make_plan(), 1), plain.training_audio(make_plan(), 1))


def test_long_files_are_cut_elsewhere_each_time(tmp_path: Path) -> None:
    for number in range(2):
        long = np.concatenate([hit(number + part) for part in range(8)])
        soundfile.write(tmp_path / f"long_{number}.wav", long, RATE)
    dataset = open_folder(tmp_path, transforms=make_transforms(random_crop=True, length=2_000))
    audio = torch.cat([batch["audio"] for batch in batches(dataset, 4, batch_size=2)])
    assert len({tuple(sound.flatten().tolist()) for sound in audio}) == 8
    fixed = next(iter(dataset.validation(make_plan(), 1)))["audio"]  # type: ignore[call-overload]
    assert torch.equal(fixed, next(iter(dataset.validation(make_plan(), 1)))["audio"])  # type: ignore[call-overload]


def test_many_files_in_bounded_memory(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "one.wav", hit()[:100], RATE)
    for number in range(2_000):
        os.link(tmp_path / "one.wav", tmp_path / f"{number}.wav")
    started = time.monotonic()
    dataset = open_folder(tmp_path, memory_gigabytes=0, cache_folder=tmp_path / "cache")
    assert time.monotonic() - started < 30
    columns = [column for column in vars(dataset.catalogue).values() if isinstance(column, np.ndarray)]
    size = len(dataset.catalogue.paths.block) + sum(column.nbytes for column in columns)
    assert len(dataset) == 2_001
    assert size < 300 * 2_001
