"""Models of the Hugging Face hub: pulled into a folder and found there without a network; pushed once exported."""

import errno
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, RepoFile, constants, get_token, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import WeakFileLock, build_hf_headers, validate_repo_id
from huggingface_hub.utils.sha import git_hash, sha_fileobj

from tiny_audio_diffusion import __version__

SHORT = {name: f"crlandsc/tiny-audio-diffusion-{name}" for name in ("kicks", "snares", "hihats", "percussion")}
PLACEHOLDER = "owner/name"  # what a model card calls a model that is not on the hub yet

WEIGHTS = ("*.ckpt", "*.pt", "*.bin", "*.safetensors")
PULLED = (*WEIGHTS, "*.yaml", "*.json", "README.md")  # nothing that could be run
NEEDED = ("model.safetensors", "config.yaml", "README.md")
PUSHED = (*NEEDED, "sheet.png", "samples/*.wav")

# Beside the files of a pulled model: what was pulled, that files are being replaced, parts of files, and a lock.
STATE, RECORD, REPLACING, PARTS, LOCK = ".pull", "record.json", "replacing", "parts", "lock"
LIBRARY = "tiny-audio-diffusion"
LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


def is_hub_name(name: str) -> bool:
    """Whether this can be a model of the hub: owner/name, owner/name@revision or a short name such as kicks."""
    try:
        _parse(name)
    except ValueError:
        return False
    return not _matches(name, WEIGHTS)  # a file that is not there


def resolve(name: str, *, folder: Path) -> Path | None:
    """A path if it exists, else the pulled folder of the model that `name` means, else None."""
    path = Path(name).expanduser()
    if path.exists():
        return path
    if not is_hub_name(name):
        return None
    print(f"{name} is no file or folder here: looking for it at {constants.ENDPOINT}")
    return pull(name, folder=folder)


def pull(name: str, *, folder: Path) -> Path:
    """The folder of a model, brought up to date; where the hub cannot be reached, as it was pulled before."""
    repository, revision = _parse(name)
    target = folder.expanduser() / _folder_name(repository, revision)
    if _filled_by_hand(target):
        print(f"{name}: taking the files that were put into {target}")
        return target
    try:
        with _told(repository, revision):
            commit = _client().model_info(repository, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT).sha
            assert commit is not None
            if _complete(target) != commit:
                _bring(repository, commit, target=target)
    except ConnectionError as error:
        if not _complete(target):
            raise FileNotFoundError(
                f"{name} was not pulled completely before, and {error}\n"
                f"Pull it with a network (a download goes on where it stopped), or put its files into {target}"
            ) from error
        print(f"{error}: taking {name} as it was pulled before, from {target}")
    return target


def push(folder: Path, name: str, *, private: bool) -> str:
    """Upload an exported model in one commit, into a new repository if there is none; returns its address."""
    if name in SHORT or "@" in name:
        raise ValueError(f"{name} cannot be pushed to: give owner/name")
    repository, revision = _parse(name)
    lacking = [file for file in NEEDED if not (folder / file).is_file()]
    if lacking:
        raise FileNotFoundError(f"{folder} holds no exported model: {', '.join(lacking)} is missing")
    if get_token() is None:
        raise PermissionError(
            f"pushing needs an access token that may write ({constants.ENDPOINT}/settings/tokens): {LOG_IN}"
        )
    api = _client()
    try:
        with _told(repository, revision):
            address = api.create_repo(repository, private=private, exist_ok=True)
            if private and not api.model_info(repository).private:
                raise ValueError(f"{repository} exists and is public: make it private at {address}/settings first")
            changes = _changes(folder, repository, api.list_repo_files(repository))
            api.create_commit(repository, changes, commit_message="Upload a model of tiny-audio-diffusion")
    except RuntimeError as error:  # the client's, about a single file
        raise OSError(f"{error} ({_reason(error.__cause__ or error)})\nPush again: what has arrived is kept") from error
    return str(address)


def _changes(folder: Path, repository: str, present: list[str]) -> list[CommitOperationAdd | CommitOperationDelete]:
    """What makes the repository hold what the folder holds; files that are not ours stay."""
    files = {path.relative_to(folder).as_posix(): path for kind in PUSHED for path in sorted(folder.glob(kind))}
    card = files.pop("README.md").read_text(encoding="utf-8").replace(PLACEHOLDER, repository)
    gone = {path for path in present if _matches(path, PUSHED)} - {*files, "README.md"}
    return [
        CommitOperationAdd("README.md", card.encode()),
        *(CommitOperationAdd(name, path) for name, path in files.items()),
        *(CommitOperationDelete(path) for path in sorted(gone)),
    ]


def _client() -> HfApi:
    return HfApi(library_name=LIBRARY, library_version=__version__)


def _parse(name: str) -> tuple[str, str]:
    """Repository and revision."""
    written, at, revision = name.partition("@")
    repository = SHORT.get(written, written)
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise ValueError(f"{name} is no name of a model on the hub: {error}") from error
    if "/" not in repository or (at and not re.fullmatch(r"\w[\w.-]*", revision, re.ASCII)):
        choices = ", ".join(SHORT)
        raise ValueError(f"{name} is no name of a model on the hub: give owner/name, owner/name@revision or {choices}")
    return repository, revision or constants.DEFAULT_REVISION


def _folder_name(repository: str, revision: str) -> str:
    """One folder for a revision of a repository, however it is written."""
    short = next((short for short, full in SHORT.items() if full == repository), repository.replace("/", "--"))
    return short if revision == constants.DEFAULT_REVISION else f"{short}@{revision}"


def _files(repository: str, commit: str) -> list[RepoFile]:
    """The files that are needed of a repository, none of which leaves the folder."""
    tree = _client().list_repo_tree(repository, revision=commit, recursive=True)
    files = [file for file in tree if isinstance(file, RepoFile) and _matches(file.path, PULLED)]
    for file in files:
        if {"", ".", "..", STATE} & set(file.path.split("/")) or re.search(r"[\\:\0]", file.path):
            raise ValueError(f"{repository} is not pulled: its file {file.path!r} would lie outside its folder")
    if not any(_matches(file.path, WEIGHTS) for file in files):
        raise ValueError(f"{repository} holds no model: none of its files is {', '.join(WEIGHTS)}")
    return files


def _bring(repository: str, commit: str, *, target: Path) -> None:
    """Download what is missing, then put it in place all at once: revisions never mix. One process at a time."""
    state, parts = target / STATE, target / STATE / PARTS
    state.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(state / LOCK):
        if _complete(target) == commit:  # another process was faster
            return
        parts.mkdir(exist_ok=True)
        files = {file.path: file for file in _files(repository, commit)}
        before = _record(target).get("files", {})
        missing = [
            file for path, file in files.items() if before.get(path) != _content(file) or not (target / path).is_file()
        ]
        # A part lies under its content's name: it is never continued with something else.
        arrived = {file.path: parts / _content(file) / file.path for file in missing}
        _check_room(missing, arrived.values(), target=target)
        megabytes = sum(file.size for file in missing) / 1e6
        print(f"pulling {repository} into {target}: {len(missing)} files, {megabytes:.1f} MB")
        for file in missing:
            _download(file, arrived[file.path], url=hf_hub_url(repository, file.path, revision=commit))

        (state / REPLACING).touch()
        (state / RECORD).unlink(missing_ok=True)  # from here until it is back, the folder is not complete
        for path in before.keys() - files.keys():
            (target / path).unlink(missing_ok=True)
        for path, part in arrived.items():
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            part.replace(target / path)
        shutil.rmtree(parts)
        record = {"repository": repository, "commit": commit, "files": {path: _content(files[path]) for path in files}}
        (state / f"{RECORD}.new").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        (state / f"{RECORD}.new").replace(state / RECORD)
        (state / REPLACING).unlink()


def _download(file: RepoFile, arrived: Path, *, url: str) -> None:
    """Download one file, going on where an earlier attempt stopped (the client itself forgets it), and check it."""
    if arrived.exists():
        return
    arrived.parent.mkdir(parents=True, exist_ok=True)
    part = arrived.with_name(f"{arrived.name}.incomplete")
    headers = build_hf_headers(library_name=LIBRARY, library_version=__version__)
    headers["Accept-Encoding"] = "identity"  # a position in what was sent is one in the file
    with part.open("ab") as stream:
        if stream.tell() < file.size:
            http_get(url, stream, resume_size=stream.tell(), headers=headers, displayed_filename=file.path)
    with part.open("rb") as stream:
        content = sha_fileobj(stream).hex() if file.lfs else git_hash(stream.read())
    if content != _content(file):
        part.unlink()
        raise OSError(f"{file.path} arrived damaged from {constants.ENDPOINT}: pull again")
    part.replace(arrived)


def _content(file: RepoFile) -> str:
    """The hash that the hub lists: of the file itself, or as git has it for a small one."""
    return file.lfs.sha256 if file.lfs else file.blob_id


def _record(target: Path) -> dict[str, Any]:
    """What was pulled into a folder: repository, commit and files; empty if nothing was."""
    path = target / STATE / RECORD
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return record


def _complete(target: Path) -> str | None:
    """The commit that was pulled into a folder, if all of its files are still there."""
    record = _record(target)
    return record["commit"] if record and all((target / path).is_file() for path in record["files"]) else None


def _filled_by_hand(target: Path) -> bool:
    """Whether there are weights that no pull has put here."""
    if any((target / STATE / mark).exists() for mark in (RECORD, REPLACING)):
        return False
    for _, folders, files in os.walk(target):
        folders[:] = [name for name in folders if name != STATE]  # walks past it
        if any(_matches(file, WEIGHTS) for file in files):
            return True
    return False


def _check_room(missing: list[RepoFile], arrived: Iterable[Path], *, target: Path) -> None:
    parts = [part for path in arrived for part in path.parent.rglob("*") if part.is_file()]
    needed = sum(file.size for file in missing) - sum(part.stat().st_size for part in parts)
    free = shutil.disk_usage(target).free
    if needed > free:
        raise OSError(f"{target} needs {needed / 1e6:.0f} MB more, and its disk has {free / 1e6:.0f} MB left")


def _matches(path: str, kinds: Iterable[str]) -> bool:
    return any(fnmatchcase(path, kind) for kind in kinds)


def _reason(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


@contextmanager
def _told(repository: str, revision: str) -> Iterator[None]:
    """Say in a line what went wrong; ConnectionError means that the hub cannot be reached."""
    hub = constants.ENDPOINT
    try:
        yield
    except RevisionNotFoundError as error:
        raise ValueError(f"{repository} has no revision {revision}: see {hub}/{repository}/commits/main") from error
    except GatedRepoError as error:
        raise PermissionError(f"{repository} asks for consent: give it at {hub}/{repository}, then {LOG_IN}") from error
    except RepositoryNotFoundError as error:
        raise ValueError(
            f"there is no model {repository} at {hub}, or it is private: check the name, or {LOG_IN}"
        ) from error
    except HfHubHTTPError as error:
        status, reason = error.response.status_code, error.server_message or _reason(error)
        if status in (401, 403):
            raise PermissionError(f"{hub} does not allow this for {repository} ({reason}): {LOG_IN}") from error
        if status == 429 or status >= 500:
            raise ConnectionError(f"{hub} cannot answer now ({reason})") from error
        raise OSError(f"{hub} refused {repository}: {reason}") from error
    except OfflineModeIsEnabled as error:
        raise ConnectionError("HF_HUB_OFFLINE forbids the network") from error
    except HTTPError as error:
        raise ConnectionError(f"{hub} cannot be reached ({_reason(error)})") from error
    except json.JSONDecodeError as error:
        raise ConnectionError(f"{hub} does not answer as the hub does: is there a log-in page before it?") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(f"the disk is full: make room and pull again, what came of {repository} is kept") from error
        raise
