"""The command line before Hydra reads it: paths taken as they are, frequent slips, several processes of one run."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.types import Quote, QuotedString

PATHS = {
    *("datamodule.dataset.path", "datamodule.dataset.index", "ckpt", "init", "out"),
    *("input", "second", "keep", "manifest"),
    *("reference", "generated", "training", "embedder.path", "callbacks.evaluate.embedder.path"),
    *("logs_dir", "data_dir", "run_folder", "hydra.run.dir"),
}
BESIDE_A_MANIFEST = {"manifest", "ckpt", "input", "second", "out", "overwrite", "device", "allow_pickle", "logs_dir"}
WITHOUT_A_FOLDER = ["hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=stdout"]
HYDRA_FLAGS = re.compile(
    r"-(h|c|p|r|m|i|sc|cp|cn|cd)|"
    r"--(help|hydra-help|version|cfg|resolve|package|run|multirun|shell-completion|info|experimental-rerun|config-\w+)"
)
QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)


def for_training(arguments: Sequence[str], *, experiments: Sequence[str]) -> list[str]:
    """The arguments as Hydra wants them; there has to be an experiment unless Hydra is asked about itself (--help)."""
    chosen = [_value(argument) for argument in arguments if _key(argument) == "exp"]
    asked = {argument for argument in arguments if argument.startswith("-")} - {"-m", "--multirun"}
    arguments = _checked(arguments, {"noise": ["schedule@noise"], "ladder": ["schedule@ladder"]})
    if not asked and (not chosen or chosen[-1].lower() in ("", "null")):
        raise ValueError(f"no experiment is chosen: add one of exp={', exp='.join(experiments)}")
    if _asks_for_memory(arguments):
        return [*(each for each in arguments if _key(each) != "hydra.run.dir"), *WITHOUT_A_FOLDER]
    return arguments if is_first_process() else [*arguments, *_beside_the_first(arguments)]


def for_generation(arguments: Sequence[str]) -> list[str]:
    """The arguments as Hydra wants them; here is one schedule, and a manifest leaves little to say."""
    arguments = _with_one_schedule(arguments)
    given = [key for argument in arguments if not (key := _key(argument)).startswith("-")]
    if "manifest" in given and (decided := sorted(set(given) - BESIDE_A_MANIFEST)):
        raise ValueError(f"the manifest decides about {', '.join(decided)}: leave out {'= and '.join(decided)}=")
    return _checked(arguments, {})


def for_evaluation(arguments: Sequence[str]) -> list[str]:
    """The arguments as Hydra wants them; here is one schedule too."""
    return _checked(_with_one_schedule(arguments), {})


def _with_one_schedule(arguments: Sequence[str]) -> list[str]:
    whole = {"schedule": "schedule@ladder", "ladder": "schedule@ladder"}
    return [
        f"{whole[_key(argument)]}={_value(argument)}" if _key(argument) in whole else argument for argument in arguments
    ]


def is_first_process() -> bool:
    """Whether this is the first of all processes: by torchrun's rank, else by Slurm's, the node's and Lightning's."""
    names = ["RANK"] if os.environ.get("RANK") else ["SLURM_PROCID", "NODE_RANK", "LOCAL_RANK"]
    return not any(int(os.environ.get(name) or 0) for name in names)


def _asks_for_memory(arguments: Sequence[str]) -> bool:
    """Whether nothing is trained: estimate=true, or a device; limit= and pick= are about that alone."""
    given = {_key(argument): _value(argument).lower() for argument in arguments}
    if given.get("estimate", "false") not in ("", "false", "null"):
        return True
    for key in ("limit", "pick"):
        if given.get(key, "null") not in ("", "false", "null"):
            raise ValueError(f"{key}= is about memory and trains nothing: add estimate=true, or leave it out")
    return False


def _beside_the_first(arguments: Sequence[str]) -> list[str]:
    """What keeps the other processes from a run folder, a configuration and a log of their own."""
    given = {_key(argument) for argument in arguments}  # Lightning tells its processes the first one's folder
    changes = {"hydra/job_logging": "stdout", "hydra.output_subdir": "null", "hydra.run.dir": "${logs_dir}"}
    return [f"{key}={value}" for key, value in changes.items() if key not in given]


def _checked(arguments: Sequence[str], places: dict[str, list[str]]) -> list[str]:
    """Name slips that Hydra answers with riddles, and quote paths; `places` are the schedules of this command."""
    slips = places | {"schedule": [place for group in places.values() for place in group]}
    for argument in arguments:
        key, value = _key(argument), _value(argument)
        if key.startswith("-") and not HYDRA_FLAGS.fullmatch(key):
            raise ValueError(f"write {key.lstrip('-')}={value or '<value>'}, without dashes")
        if key in slips and not value.startswith("{"):
            raise ValueError(f"write {' or '.join(f'{place}={value}' for place in slips[key])} instead of {argument}")
    if {"-m", "--multirun"} & set(arguments):
        return list(arguments)  # there a comma separates runs
    return [_with_quoted_path(argument) for argument in arguments]


def _with_quoted_path(argument: str) -> str:
    """`out=~/my drums (1)` → `out='<home>/my drums (1)'`; quotes, [lists], null and ${…} are Hydra's already."""
    value = _value(argument)
    is_hydra = not value or value.lower() == "null" or "${" in value or QUOTED.fullmatch(value)
    if _key(argument) not in PATHS or is_hydra or (value.startswith("[") and value.endswith("]")):
        return argument
    if _key(argument) == "hydra.run.dir" and value[0] == value[-1] == '"':
        value = value[1:-1]  # Lightning puts quotes around a folder for its processes, whatever it holds
    if value == "~" or value.startswith("~/"):
        value = str(Path(value).expanduser())
    return argument.partition("=")[0] + "=" + QuotedString(value, Quote.single).with_quotes()


def _key(argument: str) -> str:
    return argument.partition("=")[0].lstrip("+")


def _value(argument: str) -> str:
    return argument.partition("=")[2]
