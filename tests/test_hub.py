"""Pulling from and pushing to the hub, with the real client against a hub on loopback."""

import errno
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hub_endpoint
import pytest
from hub_endpoint import TOKEN, Files, Hub
from huggingface_hub import ModelCard, ModelCardData, constants
from huggingface_hub.utils import close_session, disable_progress_bars
from hydra.utils import instantiate
from omegaconf import DictConfig
from runs import tiny_config

from tiny_audio_diffusion import hub
from tiny_audio_diffusion.model_card import model_card

NAME = "someone/drums"
MEGABYTE = 2**20
FILES: Files = {
    "model.safetensors": bytes(range(256)) * 40,
    "config.yaml": b"channels: 2\n",
    "README.md": b"drums\n",
    "train.py": b"raise SystemExit('run')\n",
    "samples/sound_000.wav": b"RIFF",
    "old/weights.ckpt": b"older" * 100,
}
WANTED = {"model.safetensors", "config.yaml", "README.md", "old/weights.ckpt"}


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub that the client takes for the real one, with nobody logged in."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    with hub_endpoint.serve() as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.address)
        template = f"{served.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
        monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)  # between two tries
        close_session()
        with disable_progress_bars():
            yield served
    close_session()


@pytest.fixture
def logged_in(endpoint: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who may write."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)


def content(folder: Path) -> Files:
    """What lies in a folder, apart from the record of the pull."""
    files = [path for path in folder.rglob("*") if path.is_file() and hub.STATE not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@contextmanager
def refused(kind: type[Exception], match: str) -> Iterator[None]:
    """Expects an error that is short enough to read."""
    with pytest.raises(kind, match=match) as error:
        yield
    assert 1 <= len(str(error.value).splitlines()) <= 3


def stop(endpoint: Hub) -> None:
    """From now on nobody listens there."""
    endpoint.shutdown()
    endpoint.server_close()
    close_session()


# Names


@pytest.mark.parametrize("name", ["kicks", "someone/drums", "some-one/Drums_2.1", "someone/drums@v2", "kicks@0a1b"])
def test_names_of_models(name: str) -> None:
    assert hub.is_hub_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "last",
        "drums",
        "a/b/c",
        "/a/b",
        "../b",
        "./b",
        "~/b",
        "a/b@",
        "a/b@../c",
        "a/b@x/y",
        "a b/c",
        "a//b",
        "a/b--c",
    ],
)
def test_names_of_other_things(name: str) -> None:
    assert not hub.is_hub_name(name)


@pytest.mark.parametrize("name", ["drums.ckpt", "model.safetensors", "dräms", "drums\n"])
def test_names_of_files_and_slips(name: str, tmp_path: Path) -> None:
    assert not hub.is_hub_name(f"someone/{name}")
    assert hub.resolve(f"someone/{name}", folder=tmp_path) is None


def test_a_path_that_exists_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: Hub) -> None:
    (tmp_path / "someone" / "drums").mkdir(parents=True)
    (tmp_path / "kicks").touch()
    monkeypatch.chdir(tmp_path)
    assert hub.resolve(NAME, folder=tmp_path) == Path(NAME)
    assert hub.resolve("kicks", folder=tmp_path) == Path("kicks")
    assert endpoint.asked == []


# Pulling


def test_pull_brings_what_is_needed(endpoint: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    endpoint.add(NAME, FILES)
    folder = hub.resolve(NAME, folder=tmp_path)
    assert folder == tmp_path / "someone--drums"
    assert content(folder) == {path: FILES[path] for path in WANTED}
    assert "4 files" in capsys.readouterr().out

    asked = len(endpoint.downloads())
    assert hub.pull(NAME, folder=tmp_path) == folder
    assert len(endpoint.downloads()) == asked == 4


def test_short_names(endpoint: Hub, tmp_path: Path) -> None:
    full = "crlandsc/tiny-audio-diffusion-kicks"
    endpoint.add(full, {"kicks_v7.ckpt": b"kick", "config.yaml": b""})
    folder = hub.pull("kicks", folder=tmp_path)
    assert folder == tmp_path / "kicks"
    assert content(folder) == {"kicks_v7.ckpt": b"kick", "config.yaml": b""}
    assert hub.pull(full, folder=tmp_path) == folder
    assert set(hub.SHORT) == {"kicks", "snares", "hihats", "percussion"}


def test_revisions_have_folders_of_their_own(endpoint: Hub, tmp_path: Path) -> None:
    endpoint.add(NAME, {"model.safetensors": b"new", "config.yaml": b"new"})
    repository = endpoint.add(NAME, {"model.safetensors": b"first", "config.yaml": b"old"}, revision="v1")
    commit = hub_endpoint.commit_of(repository.revisions["v1"][-1])
    assert content(hub.pull(f"{NAME}@v1", folder=tmp_path))["model.safetensors"] == b"first"
    assert content(hub.pull(f"{NAME}@{commit}", folder=tmp_path))["model.safetensors"] == b"first"
    assert content(hub.pull(NAME, folder=tmp_path))["model.safetensors"] == b"new"
    assert hub.pull(f"{NAME}@main", folder=tmp_path) == hub.pull(NAME, folder=tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"someone--drums", "someone--drums@v1", f"someone--drums@{commit}"}


def test_a_new_commit_replaces_the_old_one(endpoint: Hub, tmp_path: Path) -> None:
    endpoint.add(NAME, {"model.safetensors": b"1", "config.yaml": b"1", "README.md": b"1", "last.ckpt": b"1"})
    folder = hub.pull(NAME, folder=tmp_path)
    (folder / "mine.txt").write_text("stays")
    endpoint.asked.clear()
    endpoint.add(NAME, {"model.safetensors": b"2", "config.yaml": b"1", "README.md": b"2"})
    hub.pull(NAME, folder=tmp_path)
    expected = {"model.safetensors": b"2", "config.yaml": b"1", "README.md": b"2", "mine.txt": b"stays"}
    assert content(folder) == expected
    assert sorted(Path(asked.path).name for asked in endpoint.downloads()) == ["README.md", "model.safetensors"]


def test_a_new_commit_of_other_files_brings_nothing(endpoint: Hub, tmp_path: Path) -> None:
    endpoint.add(NAME, FILES)
    folder = hub.pull(NAME, folder=tmp_path)
    endpoint.add(NAME, FILES | {"train.py": b"", "samples/sound_001.wav": b""})
    endpoint.asked.clear()
    hub.pull(NAME, folder=tmp_path)
    assert content(folder) == {path: FILES[path] for path in WANTED}
    assert endpoint.downloads() == []


def test_a_lost_file_is_brought_back(endpoint: Hub, tmp_path: Path) -> None:
    endpoint.add(NAME, FILES)
    folder = hub.pull(NAME, folder=tmp_path)
    (folder / "config.yaml").unlink()
    endpoint.asked.clear()
    hub.pull(NAME, folder=tmp_path)
    assert (folder / "config.yaml").read_bytes() == FILES["config.yaml"]
    assert [Path(asked.path).name for asked in endpoint.downloads()] == ["config.yaml"]


def test_what_was_put_there_by_hand_is_taken(endpoint: Hub, tmp_path: Path) -> None:
    (tmp_path / "kicks").mkdir()
    (tmp_path / "kicks" / "kicks_v7.ckpt").write_bytes(b"by hand")
    assert hub.pull("kicks", folder=tmp_path) == tmp_path / "kicks"
    assert content(tmp_path / "kicks") == {"kicks_v7.ckpt": b"by hand"}
    assert endpoint.asked == []


def test_what_was_put_there_after_a_pull_failed_is_taken(endpoint: Hub, tmp_path: Path) -> None:
    endpoint.add(NAME, {"a.ckpt": b"a", "model.safetensors": b"m"})
    endpoint.cuts = [1] + 6 * [0]
    with refused(FileNotFoundError, match="put its files into"):
        hub.pull(NAME, folder=tmp_path)
    with refused(FileNotFoundError, match="put its files into"):
        stop(endpoint)
        hub.pull(NAME, folder=tmp_path)
    folder = tmp_path / "someone--drums"
    (folder / "by_hand.ckpt").write_bytes(b"by hand")
    assert hub.pull(NAME, folder=tmp_path) == folder


def test_a_replacement_that_was_broken_off(endpoint: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint.add(NAME, FILES)
    folder = hub.pull(NAME, folder=tmp_path)
    second = FILES | {"config.yaml": b"second", "model.safetensors": b"second"}
    endpoint.add(NAME, second)
    with monkeypatch.context() as patched:
        patched.setattr(hub.shutil, "rmtree", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            hub.pull(NAME, folder=tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(constants, "HF_HUB_OFFLINE", True)
        with refused(FileNotFoundError, match="not pulled completely"):
            hub.pull(NAME, folder=tmp_path)
    hub.pull(NAME, folder=tmp_path)
    assert content(folder) == {path: second[path] for path in WANTED}


def test_a_server_without_ranges(endpoint: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    endpoint.add(NAME, FILES)
    endpoint.ranges, endpoint.cuts = False, [4_500]
    assert content(hub.pull(NAME, folder=tmp_path)) == {path: FILES[path] for path in WANTED}


@pytest.mark.usefixtures("logged_in")
def test_only_the_hub_sees_the_token(endpoint: Hub, tmp_path: Path) -> None:
    endpoint.add(NAME, FILES).private = True
    assert content(hub.pull(NAME, folder=tmp_path)).keys() == WANTED
    seen = {asked.path.startswith("/large/"): asked.token for asked in endpoint.asked if "agent" not in asked.path}
    assert seen == {False: TOKEN, True: None}


# Interrupted


def test_a_cut_connection_goes_on_where_it_was(endpoint: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    endpoint.add(NAME, FILES | {"old/weights.ckpt": b""})
    endpoint.cuts = [4_500]
    assert content(hub.pull(NAME, folder=tmp_path))["model.safetensors"] == FILES["model.safetensors"]
    assert [asked.range for asked in endpoint.asked if "/large/" in asked.path] == [None, "bytes=4000-"]


def test_what_came_is_kept_for_the_next_pull(endpoint: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    endpoint.add(NAME, FILES)
    endpoint.cuts = [3_500] + 5 * [0]  # as often as the client tries
    with refused(FileNotFoundError, match="cannot be reached"):
        hub.pull(NAME, folder=tmp_path)
    assert not content(tmp_path / "someone--drums")  # nothing that could be taken for the model
    assert not endpoint.cuts
    endpoint.asked.clear()
    assert content(hub.pull(NAME, folder=tmp_path)) == {path: FILES[path] for path in WANTED}
    assert "bytes=3000-" in {asked.range for asked in endpoint.downloads()}


def test_a_part_is_not_continued_with_something_else(
    endpoint: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    endpoint.add(NAME, FILES)
    folder = hub.pull(NAME, folder=tmp_path)
    endpoint.add(NAME, FILES | {"config.yaml": b"second", "model.safetensors": bytes(9_000)})
    endpoint.cuts = [3_500] + 5 * [0]  # as often as the client tries
    hub.pull(NAME, folder=tmp_path)  # falls back to the first, whole
    assert content(folder) == {path: FILES[path] for path in WANTED}
    third = FILES | {"config.yaml": b"third", "model.safetensors": b"3" * 9_000}
    endpoint.add(NAME, third)
    hub.pull(NAME, folder=tmp_path)
    assert content(folder) == {path: third[path] for path in WANTED}


def test_damaged_files_are_refused(endpoint: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint.add(NAME, FILES)
    monkeypatch.setattr(hub_endpoint, "large_name", lambda content: "0" * 64)
    with refused(OSError, match="damaged"):
        hub.pull(NAME, folder=tmp_path)
    monkeypatch.undo()


def test_a_full_disk(endpoint: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint.add(NAME, FILES)
    monkeypatch.setattr(hub.shutil, "disk_usage", lambda path: SimpleNamespace(free=9_000))
    with refused(OSError, match="its disk has 0 MB left"):
        hub.pull(NAME, folder=tmp_path)
    monkeypatch.setattr(hub.shutil, "disk_usage", lambda path: SimpleNamespace(free=10**12))

    def fill(*values: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(hub, "http_get", fill)
    with refused(OSError, match="the disk is full"):
        hub.pull(NAME, folder=tmp_path)


# Without a network


def test_without_a_network(endpoint: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    endpoint.add(NAME, FILES)
    folder = hub.pull(NAME, folder=tmp_path)
    stop(endpoint)
    capsys.readouterr()
    assert hub.pull(NAME, folder=tmp_path) == folder
    told = capsys.readouterr().out
    assert "cannot be reached" in told
    assert str(folder) in told

    for name, where in (("snares", "snares"), (f"{NAME}@v1", "someone--drums@v1")):
        with refused(FileNotFoundError, match=re.escape(f"put its files into {tmp_path / where}")):
            hub.pull(name, folder=tmp_path)
        assert not (tmp_path / where).exists()
    (folder / "config.yaml").unlink()
    with pytest.raises(FileNotFoundError, match="not pulled completely"):
        hub.pull(NAME, folder=tmp_path)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_hub_that_does_not_answer_is_like_no_network(endpoint: Hub, tmp_path: Path, status: int) -> None:
    endpoint.add(NAME, FILES)
    endpoint.failing = {"/": status}
    with refused(FileNotFoundError, match="cannot answer now"):
        hub.pull(NAME, folder=tmp_path)
    endpoint.failing = {}
    folder = hub.pull(NAME, folder=tmp_path)
    endpoint.failing = {"/": status}
    assert hub.pull(NAME, folder=tmp_path) == folder


def test_a_page_before_the_hub_is_like_no_network(endpoint: Hub, tmp_path: Path) -> None:
    endpoint.add(NAME, FILES)
    endpoint.logs_in_first = True
    with refused(FileNotFoundError, match="log-in page"):
        hub.pull(NAME, folder=tmp_path)


def test_network_forbidden(endpoint: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint.add(NAME, FILES)
    folder = hub.pull(NAME, folder=tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    endpoint.asked.clear()
    assert hub.pull(NAME, folder=tmp_path) == folder
    with refused(FileNotFoundError, match="HF_HUB_OFFLINE"):
        hub.pull("kicks", folder=tmp_path)
    assert endpoint.asked == []


# Refused


def test_what_is_not_there(endpoint: Hub, tmp_path: Path) -> None:
    with refused(ValueError, match="there is no model someone/drums"):
        hub.pull(NAME, folder=tmp_path)
    endpoint.add(NAME, FILES).private = True
    with refused(ValueError, match="or it is private"):
        hub.pull(NAME, folder=tmp_path)
    endpoint.add(NAME, FILES).private = False
    with refused(ValueError, match="has no revision v9"):
        hub.pull(f"{NAME}@v9", folder=tmp_path)
    endpoint.add(NAME, {"README.md": b"soon"})
    with refused(ValueError, match="holds no model"):
        hub.pull(NAME, folder=tmp_path)
    with refused(ValueError, match="owner/name"):
        hub.pull("drums", folder=tmp_path)


def test_what_is_not_allowed(endpoint: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint.add(NAME, FILES).gated = True
    with refused(PermissionError, match="asks for consent"):
        hub.pull(NAME, folder=tmp_path)
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    with refused(PermissionError, match="Invalid credentials"):
        hub.pull(NAME, folder=tmp_path)


EVIL = [
    "../x.ckpt",
    "a/../../x.ckpt",
    "{outside}/x.ckpt",
    "/x.ckpt",
    "..\\x.ckpt",
    "C:\\x.ckpt",
    "a//x.ckpt",
    "./x.ckpt",
]


@pytest.mark.parametrize("path", [*EVIL, ".pull/record.json", "a/.pull/x.json"])
def test_no_file_leaves_the_folder(endpoint: Hub, tmp_path: Path, path: str) -> None:
    path = path.replace("{outside}", str(tmp_path / "outside"))
    endpoint.add(NAME, FILES | {path: b"evil"})
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    with refused(ValueError, match="outside its folder"):
        hub.pull(NAME, folder=tmp_path / "models")
    after = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert after == {tmp_path / "models" / "someone--drums" / hub.STATE / hub.LOCK}
    assert endpoint.downloads() == []


# Other processes


def pulling(endpoint: Hub, folder: Path, home: Path) -> "subprocess.Popen[str]":
    """Another process that pulls, told where the hub is as people tell it: by the environment."""
    call = f"pull({NAME!r}, folder=Path({str(folder)!r}))"
    program = f"from pathlib import Path; from tiny_audio_diffusion.hub import pull; {call}"
    variables = {"HF_ENDPOINT": endpoint.address, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "*"}
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env=os.environ | variables | {"HF_HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_killed_pull_goes_on(endpoint: Hub, tmp_path: Path) -> None:
    weights = os.urandom(25 * MEGABYTE)
    endpoint.add(NAME, {"config.yaml": b"", "model.safetensors": weights})
    endpoint.stall_after = 15 * MEGABYTE
    process = pulling(endpoint, tmp_path / "models", tmp_path)
    assert endpoint.stalled.wait(60)
    part = next((tmp_path / "models").rglob("*.incomplete"))
    while part.stat().st_size < 10 * MEGABYTE:  # the client writes ten megabytes at a time
        assert process.poll() is None
        endpoint.released.wait(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    endpoint.released.set()
    endpoint.stall_after = None
    endpoint.asked.clear()

    folder = hub.pull(NAME, folder=tmp_path / "models")
    assert content(folder) == {"config.yaml": b"", "model.safetensors": weights}
    assert [asked.range for asked in endpoint.asked if "/large/" in asked.path] == [f"bytes={10 * MEGABYTE}-"]
    assert {path.name for path in (folder / hub.STATE).iterdir()} == {hub.LOCK, hub.RECORD}


def test_two_pulls_at_once(endpoint: Hub, tmp_path: Path) -> None:
    weights = os.urandom(8 * MEGABYTE)
    endpoint.add(NAME, {"config.yaml": b"", "model.safetensors": weights})
    endpoint.stall_after = 10 * MEGABYTE
    processes = [pulling(endpoint, tmp_path / "models", tmp_path) for _ in range(2)]
    assert endpoint.stalled.wait(60)
    while sum("/revision/" in asked.path for asked in endpoint.asked) < 2:  # until both have found something to do
        assert all(process.poll() is None for process in processes)
        endpoint.released.wait(0.01)
    endpoint.released.set()
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert content(tmp_path / "models" / "someone--drums") == {"config.yaml": b"", "model.safetensors": weights}
    assert sum("/large/" in asked.path for asked in endpoint.asked) == 1


# Pushing


def exported(folder: Path) -> Path:
    """An exported model."""
    files = {
        "model.safetensors": bytes(range(256)) * 20,
        "config.yaml": b"channels: 2\n",
        "README.md": b"---\nlicense: mit\n---\nckpt=owner/name\n",
        "sheet.png": b"PNG",
        "samples/sound_000.wav": b"RIFF0",
        "samples/sound_001.wav": b"RIFF1",
        "private.txt": b"stays here",
        "last.ckpt": b"stays here",
    }
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


# The client of this version hands files to its own HTTP library in a way that the library calls deprecated.
UPLOADS = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")


@UPLOADS
@pytest.mark.usefixtures("logged_in")
def test_push_then_pull(endpoint: Hub, tmp_path: Path) -> None:
    folder = exported(tmp_path / "export")
    assert hub.push(folder, NAME, private=False) == f"{endpoint.address}/{NAME}"
    repository = endpoint.repositories[NAME]
    there = repository.revisions["main"][-1]
    assert not repository.private
    assert len(repository.revisions["main"]) == 2  # one commit
    here = content(folder)
    assert there.keys() == here.keys() - {"private.txt", "last.ckpt"}
    assert there["README.md"] == b"---\nlicense: mit\n---\nckpt=someone/drums\n"
    assert all(there[path] == here[path] for path in there.keys() - {"README.md"})
    assert here["README.md"].endswith(b"owner/name\n")

    pulled = content(hub.pull(NAME, folder=tmp_path / "models"))
    assert pulled.keys() == {"model.safetensors", "config.yaml", "README.md"}
    assert all(pulled[path] == there[path] for path in pulled)


@UPLOADS
@pytest.mark.usefixtures("logged_in")
def test_push_again(endpoint: Hub, tmp_path: Path) -> None:
    folder = exported(tmp_path / "export")
    hub.push(folder, NAME, private=False)
    endpoint.repositories[NAME].revisions["main"][-1]["notes.md"] = b"of the owner"
    (folder / "samples" / "sound_001.wav").unlink()
    (folder / "model.safetensors").write_bytes(b"trained on")
    hub.push(folder, NAME, private=False)
    there = endpoint.repositories[NAME].revisions["main"][-1]
    assert there["model.safetensors"] == b"trained on"
    assert there["notes.md"] == b"of the owner"
    assert [path for path in there if path.endswith(".wav")] == ["samples/sound_000.wav"]


@UPLOADS
@pytest.mark.usefixtures("logged_in")
def test_private_stays_private(endpoint: Hub, tmp_path: Path) -> None:
    folder = exported(tmp_path / "export")
    hub.push(folder, NAME, private=True)
    assert endpoint.repositories[NAME].private
    hub.push(folder, NAME, private=True)
    endpoint.add("someone/public", {})
    with refused(ValueError, match="is public"):
        hub.push(folder, "someone/public", private=True)
    assert endpoint.repositories["someone/public"].at("main") == {}


def test_push_without_a_token(endpoint: Hub, tmp_path: Path) -> None:
    with refused(PermissionError, match="HF_TOKEN"):
        hub.push(exported(tmp_path / "export"), NAME, private=False)
    assert endpoint.asked == []


@UPLOADS
@pytest.mark.usefixtures("logged_in")
def test_push_refused(endpoint: Hub, tmp_path: Path) -> None:
    folder = exported(tmp_path / "export")
    for name in ("kicks", "someone/drums@v1", "drums"):
        with refused(ValueError, match="owner/name"):
            hub.push(folder, name, private=False)
    with refused(PermissionError, match="don't have the rights"):
        hub.push(folder, "somebody/drums", private=False)
    (folder / "README.md").write_text("---\ntags: [audio]\n---\n")
    with refused(ValueError, match='"license" is required'):
        hub.push(folder, NAME, private=False)
    exported(folder)
    endpoint.failing = {f"/api/models/{NAME}/commit": 413}
    with refused(OSError, match="having a rest"):
        hub.push(folder, NAME, private=False)
    endpoint.large.clear()
    endpoint.failing = {"/large/": 403}
    with refused(OSError, match="Push again"):
        hub.push(folder, NAME, private=False)
    endpoint.failing = {}
    (folder / "config.yaml").unlink()
    with refused(FileNotFoundError, match=r"config\.yaml is missing"):
        hub.push(folder, NAME, private=False)
    stop(endpoint)
    exported(folder)
    with refused(ConnectionError, match="cannot be reached"):
        hub.push(folder, NAME, private=False)


# The page

SECTIONS = ["## Trained on", "## Use", "## Settings"]


def card(config: DictConfig, **changes: Any) -> str:
    """The page of a model as it is exported."""
    content: dict[str, Any] = {
        "title": "Drums",
        "samples": ["samples/sound_000.wav", "samples/a b (1).wav"],
        "sheet": "sheet.png",
        "licence": "CC-BY-4.0",
        "trained_on": "512 drums: kicks, snares\nand others",
        "metrics": {"kernel distance": 0.0123456, "sounds": "64"},
    }
    return model_card(config, **content | changes)


@pytest.fixture
def config(tmp_path: Path) -> DictConfig:
    return tiny_config(tmp_path / "sounds", tmp_path / "run")


def test_the_hub_can_read_the_page(config: DictConfig) -> None:
    text = card(config)
    read = ModelCard(text)
    expected = ModelCardData(
        license="cc-by-4.0",
        library_name="tiny-audio-diffusion",
        tags=["tiny-audio-diffusion", "audio", "diffusion", "unconditional-audio-generation"],
    )
    assert read.data.to_dict() == expected.to_dict()
    assert ModelCard(str(read)).text == read.text
    other = ModelCard(card(config, licence="Our own: free for learning")).data.to_dict()
    assert other["license"] == "other"
    assert other["license_name"] == "our-own-free-for-learning"
    with pytest.raises(ValueError, match="mit"):
        card(config, licence=" ")


def test_the_page_says_what_the_configuration_says(config: DictConfig) -> None:
    text = card(config)
    parameters = sum(weight.numel() for weight in instantiate(config.network).parameters())
    expected = [
        *("# Drums", "512 drums: kicks, snares\nand others", "0.02 seconds, stereo, at 44100 Hz"),
        *("UNet(in_channels=2, channels=[8, 16], factors=[1, 4]", "`Companded(power=0.333)`", "`V()`"),
        *("LogNormal(mean=-0.8, std=1.8)", "`Euler()`", "`Angle()`", f"| parameters | {parameters:,} |"),
        *("| steps | 3 network", "| length | 1024 samples |", "| kernel distance | 0.01235 |", "| sounds | 64 |"),
        *("python generate.py ckpt=owner/name count=16", "python train.py exp=finetune init=owner/name "),
        *("[sound_000.wav](samples/sound_000.wav)", "(sheet.png)"),
        '<audio controls src="https://huggingface.co/owner/name/resolve/main/samples/a%20b%20%281%29.wav">',
    ]
    assert [words for words in expected if words not in text] == []
    assert "None" not in text
    config.objective = {"_target_": "tiny_audio_diffusion.objective.K", "sigma_data": 0.5}
    config.channels = 1
    assert "`K(sigma_data=0.5)`" in card(config)
    assert "seconds, mono," in card(config)


def test_the_page_leaves_out_what_there_is_not(config: DictConfig) -> None:
    text = card(config, samples=[], sheet=None, metrics={}, title="two\nlines", trained_on="drums")
    assert [line for line in text.splitlines() if line.startswith("#")] == ["# two lines", *SECTIONS]
    assert "<audio" not in text
    assert "| a \\| b | 1 |" in card(config, metrics={"a | b": "1"})
