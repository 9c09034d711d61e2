"""The command line before Hydra: paths arrive as they are written, slips are named, a run has one folder."""

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from tiny_audio_diffusion import arguments

EXPERIMENTS = ["drums", "voices"]
RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
ODD = [
    "/x/my drums (1)",
    "/x/a=b,c",
    "/x/[old] {new}: a",
    "[old] drums",
    "/x/Trommeln für Übung 太鼓",
    "/x/it's",
    '/x/a "b"',
    "'tis/of 'thee'",
    "/x/back\\slash",
    "/x/quote\\'d \\\\' \\",
    "/x/#1 & 100%!;",
    "2024",
    "true",
    "nullify",
]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in RANKS:
        monkeypatch.delenv(name, raising=False)


def parsed(argument: str) -> object:
    """What Hydra understands."""
    (override,) = OverridesParser.create().parse_overrides([argument])
    return override.value()


@pytest.mark.parametrize("path", ODD)
@pytest.mark.parametrize(
    "key",
    ["datamodule.dataset.path", "ckpt", "+ckpt", "++out", "logs_dir", "hydra.run.dir", "reference", "embedder.path"],
)
def test_a_path_arrives_as_it_was_written(key: str, path: str) -> None:
    (once,) = arguments.for_generation([f"{key}={path}"])
    assert once.startswith(f"{key}=")
    assert parsed(once) == path
    assert arguments.for_generation([once]) == [once]  # Lightning starts its processes with what we have rewritten


@pytest.mark.parametrize(
    "argument",
    [
        "datamodule.dataset.path='/x/a b'",
        'out="/x/a \\"b\\""',
        "datamodule.dataset.path=[/x/a,/x/b]",
        "ckpt=null",
        "ckpt=",
        "out=${logs_dir}/kit",
        "batch_size=4",
        "network.channels=[8,16]",
        "~callbacks.samples",
        "name=/x/my drums (1)",
    ],
)
def test_what_hydra_reads_already_is_left_alone(argument: str) -> None:
    assert arguments.for_generation([argument]) == [argument]


def test_home_is_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/x/some one")
    read = arguments.for_generation(["out=~/my kit", "ckpt=~", "logs_dir=~backup", "datamodule.dataset.path=/a/~/b"])
    assert [parsed(argument) for argument in read] == ["/x/some one/my kit", "/x/some one", "~backup", "/a/~/b"]


def test_the_folder_that_lightning_hands_on_may_hold_quotes() -> None:
    (argument,) = arguments.for_generation(['hydra.run.dir="/x/a "b" c/run"'])
    assert parsed(argument) == '/x/a "b" c/run'


def test_a_sweep_keeps_its_commas() -> None:
    sweep = ["-m", "exp=drums", "datamodule.dataset.path=/x/a,/x/b"]
    assert arguments.for_training(sweep, experiments=EXPERIMENTS) == sweep


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--exp=drums"], "^write exp=drums, without dashes$"),
        (["exp=drums", "-batch_size=4"], "^write batch_size=4, without dashes$"),
        (["--exp", "drums"], "^write exp=<value>, without dashes$"),
        (["exp=drums", "noise=angle"], "^write schedule@noise=angle instead of noise=angle$"),
        (["exp=drums", "ladder=angle"], "^write schedule@ladder=angle instead of ladder=angle$"),
        (["exp=drums", "schedule=angle"], "^write schedule@noise=angle or schedule@ladder=angle instead of"),
        ([], "^no experiment is chosen: add one of exp=drums, exp=voices$"),
        (["batch_size=4"], "no experiment is chosen"),
        (["exp=drums", "exp="], "no experiment is chosen"),
        (["exp=null"], "no experiment is chosen"),
        (["-m", "batch_size=4,8"], "no experiment is chosen"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_slips_are_named(given: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        arguments.for_training(given, experiments=EXPERIMENTS)


@pytest.mark.parametrize("given", ["ladder=karras", "schedule=karras"])
def test_generation_has_one_schedule(given: str) -> None:
    assert arguments.for_generation([given]) == ["schedule@ladder=karras"]
    assert arguments.for_evaluation([given]) == ["schedule@ladder=karras"]


def test_a_manifest_decides() -> None:
    allowed = ["manifest='a.json'", "out='b'", "ckpt='c'", "overwrite=true"]
    assert arguments.for_generation(allowed) == allowed
    with pytest.raises(ValueError, match=r"^the manifest decides about schedule@ladder, steps: leave out "):
        arguments.for_generation([*allowed, "steps=3", "schedule=karras"])


@pytest.mark.parametrize("given", [["--help"], ["--cfg", "job"], ["--config-name=mine"], ["exp=drums", "-m"]])
def test_hydras_own_questions_pass(given: list[str]) -> None:
    assert arguments.for_training(given, experiments=EXPERIMENTS) == given


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "0", "SLURM_PROCID": "1"}, True),  # torchrun's first, on Slurm's second node
        ({"RANK": "2", "LOCAL_RANK": "0", "SLURM_PROCID": "0"}, False),
        ({"SLURM_PROCID": "4", "LOCAL_RANK": "0"}, False),
        ({"SLURM_PROCID": "0", "LOCAL_RANK": "1"}, False),  # started by Lightning within an interactive job
        ({"NODE_RANK": "1"}, False),
        ({"RANK": "", "LOCAL_RANK": "0"}, True),
    ],
)
def test_one_process_is_the_first(environment: dict[str, str], first: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert arguments.is_first_process() == first


def test_the_other_processes_leave_no_run_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = ["exp=drums", f"logs_dir='{tmp_path}'"]
    assert arguments.for_training(given, experiments=EXPERIMENTS) == given
    monkeypatch.setenv("RANK", "1")
    quiet = ["hydra/job_logging=stdout", "hydra.output_subdir=null"]
    read = arguments.for_training(given, experiments=EXPERIMENTS)
    assert read == [*given, *quiet, "hydra.run.dir=${logs_dir}"]
    assert arguments.for_training(read, experiments=EXPERIMENTS) == read
    told = [*given, "hydra.run.dir='/x/run'"]
    assert arguments.for_training(told, experiments=EXPERIMENTS) == [*told, *quiet]
