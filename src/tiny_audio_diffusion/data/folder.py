"""A folder of sounds as a set to train on: examined, labelled, prepared, and drawn in batches."""

import itertools
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from tiny_audio_diffusion.audio import printable
from tiny_audio_diffusion.data.augment import Augment, random_of
from tiny_audio_diffusion.data.catalogue import Catalogue, Collector
from tiny_audio_diffusion.data.index import Index
from tiny_audio_diffusion.data.order import Balanced, Order, Passes, Plan, own_batches, split
from tiny_audio_diffusion.data.prepared import Prepared
from tiny_audio_diffusion.data.report import Report, Verdict, notes_on, reason_to_skip
from tiny_audio_diffusion.data.scan import Folders, as_roots, examine_all, find
from tiny_audio_diffusion.data.transforms import Transforms

UNLABELLED = -1
LABELS = (None, "folder")

logger = logging.getLogger(__name__)


class Batch(TypedDict):
    """Prepared sounds that are trained on together."""

    audio: Tensor  # [batch, channels, length] within ±1
    path: list[str]
    label: Tensor  # [batch]
    position: int  # of the first of them, in the order of all sounds of all processes
    failed: list[str]  # sounds that should have been among them and can no longer be read


class Sound(TypedDict):
    """One prepared sound."""

    audio: Tensor  # [channels, length] within ±1
    path: str
    label: int


class SoundFolder:
    """The usable sounds of one or more folders; the first folder below the root names a sound's class."""

    def __init__(
        self,
        path: Folders,
        transforms: Transforms,
        *,
        augment: Augment,
        recursive: bool,
        labels: str | None,
        memory_gigabytes: float,
        disk_gigabytes: float,
        cache_folder: str | os.PathLike[str] | None,
    ) -> None:
        if labels not in LABELS:
            raise ValueError(f"labels must be folder or null, not {labels}")
        self.transforms, self.augment = transforms, augment
        self.roots = as_roots(path)
        self.report = Report()
        collector = self._examine(recursive, labels is not None, Index(cache_folder))
        self.classes = sorted(name for name in collector.classes if name)
        # without class folders every sound is of the one class 0
        catalogue = collector.catalogue(self.classes, unlabelled=UNLABELLED if self.classes else 0)
        self._say()
        self.prepared = Prepared(
            catalogue,
            transforms,
            memory_gigabytes=memory_gigabytes,
            disk_gigabytes=disk_gigabytes,
            folder=cache_folder,
        )
        logger.info("prepared sounds are kept %s", self.prepared.place)

    def __len__(self) -> int:
        return len(self.catalogue)

    @property
    def catalogue(self) -> Catalogue:
        return self.prepared.catalogue

    @property
    def in_memory(self) -> bool:
        """Whether a batch costs nothing but copying."""
        return self.prepared.memory is not None and self.augment.is_identity and not self.transforms.random_crop

    def sides(self, fraction: float) -> tuple[list[int], list[int]]:
        """The sounds to train on and those to validate with; sounds that are the same lie on the same side."""
        groups = np.unique(self.catalogue.digests, return_inverse=True)[1].tolist()
        return split(self.catalogue.paths, groups, fraction)

    def training(self, plan: Plan) -> "FolderBatches":
        """The endless batches of one process."""
        return FolderBatches(self.prepared, self.sides(plan.validation_fraction)[0], plan, self.augment)

    def validation(self, plan: Plan, count: int) -> "FolderSounds":
        """At most `count` of the sounds that training never meets."""
        return FolderSounds(self.prepared, self.sides(plan.validation_fraction)[1][:count], on_error=plan.on_error)

    def counts(self, plan: Plan) -> tuple[int, int]:
        """How many sounds there are to train on, and to validate with."""
        training, validation = self.sides(plan.validation_fraction)
        return len(training), len(validation)

    def training_audio(self, plan: Plan, count: int) -> Tensor:
        """The first sounds that training meets, as they are without augmentation [at most count, channels, length]."""
        if count < 1:
            raise ValueError(f"at least 1 sound is needed, not {count}")
        batches = self.training(plan)
        drawn = dict.fromkeys(batches.draw(position)[0] for position in range(min(count, len(batches.indices))))
        sounds = FolderSounds(self.prepared, list(drawn), on_error=plan.on_error)
        return torch.stack([sounds[place]["audio"] for place in range(len(sounds))])

    def audio(self, indices: Iterable[int]) -> Tensor:
        """Some of the sounds, as they are without augmentation [count, channels, length]."""
        return torch.stack([self.prepared.get(index) for index in indices])

    def write_report(self, path: str | os.PathLike[str]) -> None:
        """Write the verdict on every file as CSV."""
        self.report.write(path)

    def _examine(self, recursive: bool, labelled: bool, index: Index) -> Collector:
        """Judge every file, count it in the report, and collect those that can be used."""
        collector, first_of = Collector(), dict[str, str]()
        found = find(self.roots, recursive=recursive)
        for path, reason in found.ignored:
            self.report.add(Verdict(path, "ignored", ((reason, ""),)))
        for path, reason in found.closed:
            self.report.add(Verdict(path, "skipped", ((reason, ""),)))
        for path, seen, facts in examine_all(found.sounds, index=index):
            label = class_name(path, self.roots) if labelled else ""
            reason = reason_to_skip(facts, self.transforms)
            if reason or seen is None:
                self.report.add(Verdict(path, "skipped", ((reason, ""),), facts, label))
                continue
            notes = notes_on(facts, self.transforms)
            first = first_of.setdefault(facts.digest, path)
            if first != path:
                notes.append(("the same sound as", printable(first)))
            self.report.add(Verdict(path, "used", tuple(notes), facts, label))
            collector.add(path, label, seen, facts)
        if not collector.names:
            raise ValueError(self.report.nothing_usable(self.roots))
        return collector

    def _say(self) -> None:
        """Tell what was found, and what its owner should look at."""
        logger.info(self.report.table())
        if self.report.too_many_skipped():
            skipped, used = self.report.statuses["skipped"], self.report.statuses["used"]
            logger.warning(
                "WARNING: %d of %d sound files are skipped: %s", skipped, skipped + used, self.report.skipped
            )
        if not self.classes:
            return
        if self.report.labels[""]:
            logger.info("%d sounds lie outside of the class folders: label %d", self.report.labels[""], UNLABELLED)
        empty = empty_classes(self.roots, self.classes)
        if empty:
            logger.warning("class folders without a usable sound: %s", ", ".join(empty))


class FolderBatches(IterableDataset[Batch]):
    """Endless batches of one process, each put together by one of the loader's workers."""

    def __init__(self, prepared: Prepared, indices: list[int], plan: Plan, augment: Augment) -> None:
        self.prepared, self.plan, self.augment = prepared, plan, augment
        self.indices = np.array(indices)
        self.order: Order = Passes(len(indices), plan.seed)
        if plan.balance:
            self.order = Balanced(prepared.catalogue.labels[self.indices].tolist(), seed=plan.seed)

    def __iter__(self) -> Iterator[Batch]:
        return map(self.batch, own_batches())

    def draw(self, position: int) -> tuple[int, int]:
        """The sound at a position, and how often it was drawn before."""
        member, visit = self.order.at(position)
        return int(self.indices[member]), visit

    def batch(self, number: int) -> Batch:
        """The batch of a number."""
        failed: list[str] = []
        sounds = [self._sound(position, failed) for position in self.plan.positions(number)]
        catalogue = self.prepared.catalogue
        indices = [index for index, _ in sounds]
        return {
            "audio": torch.stack([audio for _, audio in sounds]),
            "path": [printable(catalogue.paths[index]) for index in indices],
            "label": torch.from_numpy(catalogue.labels[indices].astype(np.int64)),
            "position": self.plan.positions(number)[0],
            "failed": failed,
        }

    def _sound(self, position: int, failed: list[str]) -> tuple[int, Tensor]:
        """The sound at a position; one that cannot be read stops the run, or the next in the order stands in for it."""
        # Two passes further on every sound has come at least once, or in classes all the rest is tried as well.
        ahead = (self.draw(position + later) for later in range(2 * len(self.indices)))
        for index, visit in itertools.chain(ahead, ((int(index), 0) for index in self.indices)):
            try:
                return index, self._visit(index, visit)
            except ValueError as error:
                if self.plan.on_error == "raise":
                    raise ValueError(f"{error} (datamodule.on_error=skip goes on without it)") from error
                failed.append(str(error))
        raise ValueError(f"none of the sounds can be read any more: {failed[0]}")

    def _visit(self, index: int, visit: int) -> Tensor:
        """One sound as it is met this time."""
        digest = self.prepared.catalogue.digests[index].decode()
        if self.prepared.varies(index):
            audio = self.prepared.make(index, place=random_of(self.plan.seed, f"place {digest}", visit).random())
        else:
            audio = self.prepared.get(index)
        return audio if self.augment.is_identity else self.augment(audio, random_of(self.plan.seed, digest, visit))


class FolderSounds(Dataset[Sound]):
    """Some of the sounds, always the same."""

    def __init__(self, prepared: Prepared, indices: Sequence[int], *, on_error: str) -> None:
        self.prepared, self.indices, self.on_error = prepared, list(indices), on_error

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> Sound:
        """The sound at a place; one that cannot be read is an error, or the next stands in for it."""
        for index in (*self.indices[place:], *self.indices[:place]):
            try:
                audio = self.prepared.get(index)
            except ValueError as error:
                if self.on_error == "raise":
                    raise ValueError(f"{error} (datamodule.on_error=skip goes on without it)") from error
                logger.warning("left out: %s", error)
                continue
            catalogue = self.prepared.catalogue
            return {"audio": audio, "path": printable(catalogue.paths[index]), "label": int(catalogue.labels[index])}
        raise ValueError("none of the sounds to validate with can be read any more")


def class_name(path: str, roots: list[Path]) -> str:
    """The first folder below the root that holds the file, or nothing for a loose file."""
    file = Path(path)
    root = next(root for root in roots if file.is_relative_to(root))
    return printable(file.relative_to(root).parts[0]) if file.parent != root else ""


def empty_classes(roots: list[Path], classes: list[str]) -> list[str]:
    """Folders that could be classes and gave no sound."""
    readable = (root for root in roots if os.access(root, os.R_OK | os.X_OK))
    folders = (path for root in readable for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    counted = Counter(printable(path.name) for path in folders if path.name != "__MACOSX")
    return sorted(set(counted) - set(classes))
