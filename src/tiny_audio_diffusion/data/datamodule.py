"""From a folder of sounds to training and validation batches."""

import hashlib
import itertools
import logging
import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypedDict

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

from tiny_audio_diffusion.audio import read
from tiny_audio_diffusion.data.scan import Folders, as_roots, printable, scan
from tiny_audio_diffusion.data.transforms import Transforms

UNLABELLED = -1
MOST_WORKERS = 4

logger = logging.getLogger(__name__)


class Sound(TypedDict):
    """One prepared sound, or a batch of them."""

    audio: Tensor  # [channels, length] within ±1
    path: str
    label: int


class SoundFolder(Dataset[Sound]):
    """The usable sounds of one or more folders, prepared; the first folder below the root names a sound's class."""

    def __init__(
        self, path: Folders, transforms: Transforms, *, recursive: bool, cache_gigabytes: float
    ) -> None:
        self.transforms = transforms
        roots = as_roots(path)
        self.files = scan(roots, recursive=recursive, seconds=transforms.seconds)
        self.sounds = [file for file in self.files if file.usable]
        self.paths = [str(file.path) for file in self.sounds]
        names = [class_name(file.path, roots) for file in self.sounds]
        self.classes = sorted({name for name in names if name})
        self.labels = [self.label(name) for name in names]
        self.log_summary()
        gigabytes = len(self.sounds) * transforms.channels * transforms.length * 4 / 1e9
        self.cache = self.prepare_all() if gigabytes <= cache_gigabytes else None

    def __len__(self) -> int:
        return len(self.sounds)

    def __getitem__(self, index: int) -> Sound:
        audio = self.prepare(index) if self.cache is None else self.cache[index]
        return {"audio": audio, "path": self.paths[index], "label": self.labels[index]}

    def audio(self, indices: Sequence[int]) -> Tensor:
        """Some of the sounds as one tensor [count, channels, length]."""
        return torch.stack([self[index]["audio"] for index in indices])

    def prepare(self, index: int) -> Tensor:
        """Read one sound, no further than needed, and transform it."""
        frames = self.transforms.frames_needed(self.sounds[index].sampling_rate)
        return self.transforms(*read(self.paths[index], frames=frames))

    def prepare_all(self) -> Tensor:
        """All sounds in memory."""
        cache = torch.empty(len(self), self.transforms.channels, self.transforms.length)
        for index in range(len(self)):
            cache[index] = self.prepare(index)
        return cache

    def label(self, name: str) -> int:
        """The number of a class: 0 for every sound when there are no class folders, −1 for one outside of them."""
        if not self.classes:
            return 0
        return self.classes.index(name) if name else UNLABELLED

    def log_summary(self) -> None:
        """Say once what was found and what is converted."""
        wanted = self.transforms
        resampled = sum(file.sampling_rate != wanted.sampling_rate for file in self.sounds)
        cut = sum(file.seconds > wanted.seconds for file in self.sounds)
        mixed = sum(file.channels != wanted.channels for file in self.sounds)
        logger.info(
            "%d sounds, %d classes, %d files skipped; %d resampled to %d Hz, %d mixed to %d channels, %d cut at %.3g s",
            *(len(self), len(self.classes), len(self.files) - len(self), resampled, wanted.sampling_rate),
            *(mixed, wanted.channels, cut, wanted.seconds),
        )


def class_name(path: Path, roots: list[Path]) -> str:
    """The first folder below the root that holds the file, or nothing for a loose file."""
    root = next(root for root in roots if path.is_relative_to(root))
    return printable(path.relative_to(root).parts[0]) if path.parent != root else ""


def split(paths: Sequence[str], fraction: float) -> tuple[list[int], list[int]]:
    """Training and validation indices: a file's name alone decides its side, whatever other files there are.

    The validation side comes in the order of the hash, which mixes the classes. It is never empty, nor is the other.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"validation_fraction must lie between 0 and 1, not {fraction}")
    assert paths
    if len(paths) == 1:
        logger.warning("one sound only: it serves for training and for validation")
        return [0], [0]
    places = [place(path) for path in paths]
    order = sorted(range(len(paths)), key=lambda index: (places[index], paths[index]))
    below = sum(value < fraction for value in places)
    count = min(max(below, 1), len(paths) - 1)
    return sorted(order[count:]), order[:count]


def place(path: str) -> float:
    """A place in [0, 1) that depends on the file's name alone, the same on every system."""
    name = unicodedata.normalize("NFC", Path(path).name)  # macOS may hand out the same name decomposed
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") / 2**48


class EndlessSampler(Sampler[int]):
    """Pass after pass over `count` indices, each in a new order; processes take turns, so none repeats another's."""

    def __init__(self, count: int, *, seed: int, rank: int = 0, world_size: int = 1, start: int = 0) -> None:
        assert count > 0
        assert 0 <= rank < world_size
        assert start >= 0
        self.count = count
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.start = start  # how many indices all processes together have drawn before

    def __iter__(self) -> Iterator[int]:
        first_pass, offset = divmod(self.start, self.count)
        stream = itertools.chain.from_iterable(map(self.order, itertools.count(first_pass)))
        return itertools.islice(stream, offset + self.rank, None, self.world_size)

    def order(self, number: int) -> list[int]:
        """The order of one pass."""
        generator = torch.Generator().manual_seed(self.seed + number)
        return torch.randperm(self.count, generator=generator).tolist()


class DataModule(pl.LightningDataModule):
    """Endless training batches and a fixed validation set; a resumed run goes on with the next sound."""

    def __init__(
        self,
        dataset: SoundFolder,
        *,
        batch_size: int,
        seed: int,
        num_workers: int | str,
        validation_fraction: float,
        validation_count: int,
        pin_memory: bool | str = "auto",
    ) -> None:
        super().__init__()
        if batch_size < 1 or validation_count < 1:
            raise ValueError("batch_size and validation_count must be at least 1")
        if num_workers == "auto":
            num_workers = 0 if dataset.cache is not None else min(os.cpu_count() or 1, MOST_WORKERS)
        if not isinstance(num_workers, int) or num_workers < 0:
            raise ValueError(f'num_workers must be "auto" or a number from 0 on, not {num_workers!r}')
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.num_workers = num_workers
        self.pin_memory = torch.cuda.is_available() if pin_memory == "auto" else bool(pin_memory)
        self.training, validation = split(dataset.paths, validation_fraction)
        self.validation = validation[:validation_count]
        self.drawn = 0  # training sounds that all processes together have used
        logger.info("%d sounds to train on, %d to validate", len(self.training), len(self.validation))

    def train_dataloader(self) -> DataLoader[Sound]:
        rank, world_size = self.place_among_processes()
        sampler = EndlessSampler(len(self.training), seed=self.seed, rank=rank, world_size=world_size, start=self.drawn)
        return self.loader(self.training, sampler)

    def val_dataloader(self) -> DataLoader[Sound]:
        rank, world_size = self.place_among_processes()
        # Every process gets as many sounds as the others: one batch fewer on one of them would leave the rest waiting.
        share = max(len(self.validation) // world_size, 1)
        indices = [self.validation[(rank + world_size * turn) % len(self.validation)] for turn in range(share)]
        return self.loader(indices, None)

    def training_audio(self, count: int) -> Tensor:
        """The first sounds that training meets, as one tensor [at most count, channels, length]."""
        if count < 1:
            raise ValueError(f"at least 1 sound is needed, not {count}")
        order = EndlessSampler(len(self.training), seed=self.seed).order(0)[:count]
        return self.dataset.audio([self.training[index] for index in order])

    def loader(self, indices: list[int], sampler: EndlessSampler | None) -> DataLoader[Sound]:
        return DataLoader(
            Subset(self.dataset, indices),
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=self.pin_memory,
            # a stream of its own: opening a loader must not move the noise of training
            generator=torch.Generator().manual_seed(self.seed),
        )

    def place_among_processes(self) -> tuple[int, int]:
        """This process's rank and the number of processes."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def on_before_batch_transfer(self, batch: dict[str, object], dataloader_idx: int) -> dict[str, object]:
        # Counted where a batch is used: workers have fetched further ahead.
        if self.trainer and self.trainer.training:
            self.drawn += self.batch_size * self.trainer.world_size
        return batch

    def state_dict(self) -> dict[str, int]:
        return {"drawn": self.drawn}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.drawn = state_dict["drawn"]
