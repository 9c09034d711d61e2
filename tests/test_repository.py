"""What git tracks belongs to nobody's machine."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def tracked_files() -> list[Path]:
    """Return the files that git tracks, or skip where there is no repository to ask."""
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    if not listed:
        pytest.skip("nothing is tracked yet")
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_names_a_folder_of_one_machine() -> None:
    machine_path = re.compile(rb"(?<![\w./~-])/(?:work|home|tmp|root)\b|\b(?:shared)/")
    found = []
    for path in tracked_files():
        content = path.read_bytes()
        if b"\0" not in content:
            lines = enumerate(content.splitlines(), start=1)
            found += [
                f"{path.relative_to(ROOT).as_posix()}:{number}" for number, line in lines if machine_path.search(line)
            ]
    assert found == []
