"""Remembers what was found in each file, so that a file is read again only when it has changed."""

import logging
import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import astuple, fields
from pathlib import Path

import soundfile

from tiny_audio_diffusion.data.facts import Facts

FORMAT = 1  # another number when the meaning of a fact changes: what was found before is then not used
WAIT_SECONDS = 30  # for another run that writes at the same moment
AT_ONCE = 500  # paths in one question
NAMES = ["path", "size", "modified", "changed", *(field.name for field in fields(Facts))]

logger = logging.getLogger(__name__)
Stamp = tuple[int, int, int]  # size, time of the last change of the content, time of the last change of anything


def stamp(path: str) -> Stamp | None:
    """What changes when a file changes; nothing for a file that is not there."""
    try:
        status = os.stat(path)  # noqa: PTH116 -- names need not be Unicode
    except OSError:
        return None
    return status.st_size, _in_range(status.st_mtime_ns), _in_range(status.st_ctime_ns)


def _in_range(nanoseconds: int) -> int:
    """Files may claim years that 64 bits do not reach."""
    return max(-(2**63), min(nanoseconds, 2**63 - 1))


class Index:
    """Facts by path and stamp in one SQLite file; one that cannot be used is left alone, aloud."""

    def __init__(self, folder: str | os.PathLike[str] | None) -> None:
        self.file = None
        if folder is not None:
            self.file = Path(folder) / f"sounds_{FORMAT}_{soundfile.__libsndfile_version__}.sqlite"
            try:
                self.file.parent.mkdir(parents=True, exist_ok=True)
                with closing(self._open()) as database, database:
                    columns = ", ".join(NAMES[1:])
                    database.execute(
                        f"CREATE TABLE IF NOT EXISTS facts (path BLOB PRIMARY KEY, {columns}) WITHOUT ROWID"
                    )
            except (OSError, sqlite3.Error) as error:
                self._give_up(error)

    def look_up(self, paths: Sequence[str], stamps: Sequence[Stamp | None]) -> list[Facts | None]:
        """What is known of each file, if it is still the same file."""
        known: dict[bytes, tuple[Stamp, Facts]] = {}
        if self.file is not None:
            try:
                with closing(self._open()) as database:
                    for start in range(0, len(paths), AT_ONCE):
                        names = [os.fsencode(path) for path in paths[start : start + AT_ONCE]]
                        marks = ", ".join("?" * len(names))
                        rows = database.execute(f"SELECT {', '.join(NAMES)} FROM facts WHERE path IN ({marks})", names)
                        known |= {row[0]: (row[1:4], facts_of(row[4:])) for row in rows}
            except sqlite3.Error as error:
                self._give_up(error)
        found = []
        for path, seen in zip(paths, stamps, strict=True):
            before, facts = known.get(os.fsencode(path), (None, None))
            found.append(facts if before == seen else None)
        return found

    def store(self, items: Iterable[tuple[str, Stamp, Facts]]) -> None:
        """Remember what was found."""
        if self.file is None:
            return
        rows = [(os.fsencode(path), *seen, *astuple(facts)) for path, seen, facts in items]
        if not rows:
            return
        try:
            with closing(self._open()) as database, database:
                marks = ", ".join("?" * len(NAMES))
                database.executemany(f"INSERT OR REPLACE INTO facts VALUES ({marks})", rows)
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)

    def _open(self) -> sqlite3.Connection:
        assert self.file is not None
        return sqlite3.connect(self.file, timeout=WAIT_SECONDS)

    def _give_up(self, error: Exception) -> None:
        logger.warning("what the sound files hold is not remembered in %s: %s", self.file, error)
        self.file = None


def facts_of(row: tuple[object, ...]) -> Facts:
    """The facts in a row; SQLite has no truth values."""
    values = dict(zip(NAMES[4:], row, strict=True))
    return Facts(**values | {name: bool(values[name]) for name in ("finite", "cut_short")})  # type: ignore[arg-type]
