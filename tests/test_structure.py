"""The architecture as the documents tell it: who imports whom, what configures what, how long things get."""

import ast
import graphlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.utils import get_object
from omegaconf import DictConfig

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs"
PACKAGE = "tiny_audio_diffusion"

SOURCES = {
    ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "src" / PACKAGE).rglob("*.py"))
}
PRIMARIES = sorted(CONFIGS.glob("*.yaml"))
CHOICES = sorted(set(CONFIGS.rglob("*.yaml")) - set(PRIMARIES))
EXPERIMENTS = sorted((ROOT / "exp").glob("*.yaml"))

# Groups that are not called like the module they configure.
MODULE_OF_GROUP = {"datamodule": "data.datamodule"}

# The inner rings: everything of ours that each part may import.
MAY_IMPORT: dict[str, set[str]] = {
    "network": set(),
    "objective": set(),
    "schedule": set(),
    "sampler": set(),
    "representation": set(),
    "diffusion": {"network", "objective", "schedule", "sampler"},
}
TENSOR_LIBRARIES = {"torch", "einops"}
LIGHTNING = {"pytorch_lightning", "lightning", "lightning_fabric"}


def imports(path: Path) -> set[str]:
    """Name every module that a file imports, wherever in the file."""
    names: set[str] = set()
    package = list(path.relative_to(ROOT / "src").parent.parts) if path.is_relative_to(ROOT / "src") else []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            # `from package import module` imports the module, `from module import name` does not
            names.update(f"{base}.{alias.name}" if f"{base}.{alias.name}" in SOURCES else base for alias in node.names)
    return names


def part(module: str) -> str:
    """Return the part of the package that a module belongs to: `tiny_audio_diffusion.network.unet` → `network`."""
    return module.partition(".")[2].partition(".")[0]


def parts_imported(name: str) -> set[str]:
    """Return the other parts of the package that the part called `name` imports."""
    files = [path for module, path in SOURCES.items() if part(module) == name]
    ours = {module for path in files for module in imports(path) if module.split(".")[0] == PACKAGE}
    return {part(module) for module in ours} - {name, ""}


def reached(module: str) -> set[str]:
    """Return all modules of the package that importing one of them runs, itself included."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        current = waiting.pop()
        if current not in SOURCES or current in seen:
            continue
        seen.add(current)
        waiting += [current.rpartition(".")[0], *imports(SOURCES[current])]  # a parent's __init__ runs first
    return seen


def libraries(path: Path) -> set[str]:
    """Return the third-party packages that a file imports."""
    return {name.split(".")[0] for name in imports(path)} - set(sys.stdlib_module_names) - {PACKAGE}


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the name and the number of lines of each function of a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


def targets(node: Any) -> Iterator[str]:
    """Yield every `_target_` in a config, outermost first."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        for value in node.values():
            yield from targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from targets(value)


def named(path: Path) -> str:
    """Name a file as seen from the root."""
    return path.relative_to(ROOT).as_posix()


# Configs mirror the source.


def test_there_is_something_to_check() -> None:
    assert SOURCES
    assert {path.stem for path in PRIMARIES} >= {"config", "generate", "evaluate"}
    assert CHOICES
    assert EXPERIMENTS


@pytest.mark.parametrize("group", sorted(path.name for path in CONFIGS.iterdir() if path.is_dir()))
def test_a_group_configures_the_module_of_its_name(group: str) -> None:
    module = f"{PACKAGE}.{MODULE_OF_GROUP.get(group, group)}"
    assert module in SOURCES
    outermost = {}
    for path in sorted((CONFIGS / group).rglob("*.yaml")):
        config = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        if "_target_" in config:
            outermost[named(path)] = [config["_target_"]]
        else:  # a list of things by name, such as callbacks, where Lightning's own may stand among ours
            found = [target for target in targets(config) if target.split(".")[0] not in LIGHTNING]
            outermost[named(path)] = found
    assert any(outermost.values()), f"no file of configs/{group} builds anything of {module}"
    strangers = {path: [t for t in found if not t.startswith(f"{module}.")] for path, found in outermost.items()}
    assert not any(strangers.values()), strangers


@pytest.mark.parametrize("path", [*PRIMARIES, *CHOICES, *EXPERIMENTS], ids=named)
def test_every_target_exists(path: Path) -> None:
    for target in targets(yaml.safe_load(path.read_text(encoding="utf-8"))):
        get_object(target)


# Imports point inward.


@pytest.mark.parametrize("name", MAY_IMPORT)
def test_the_inner_parts_know_only_what_is_further_in(name: str) -> None:
    assert any(part(module) == name for module in SOURCES)
    assert parts_imported(name) <= MAY_IMPORT[name]


@pytest.mark.parametrize("name", MAY_IMPORT)
def test_the_inner_parts_know_tensors_alone(name: str) -> None:
    for module, path in SOURCES.items():
        if part(module) == name:
            assert libraries(path) <= TENSOR_LIBRARIES, named(path)


def test_no_part_imports_itself_by_a_detour() -> None:
    graph = {name: parts_imported(name) for name in {part(module) for module in SOURCES} - {""}}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_making_sounds_needs_no_trainer() -> None:
    modules = reached(f"{PACKAGE}.pipeline")
    assert f"{PACKAGE}.diffusion" in modules
    assert not {part(module) for module in modules} & {"module", "callbacks", "loggers", "trainer"}
    assert not [module for module in modules if libraries(SOURCES[module]) & LIGHTNING]


def test_only_callbacks_and_loggers_know_weights_and_biases() -> None:
    knowing = {part(module) for module, path in SOURCES.items() if "wandb" in libraries(path)}
    assert knowing <= {"callbacks", "loggers"}
    assert not [script for script in ("train.py", "generate.py") if "wandb" in libraries(ROOT / script)]


def test_only_hub_knows_the_hub() -> None:
    assert {part(module) for module, path in SOURCES.items() if "huggingface_hub" in libraries(path)} <= {"hub"}


def test_only_the_page_knows_gradio() -> None:
    assert {part(module) for module, path in SOURCES.items() if libraries(path) & {"gradio", "starlette"}} == {"app"}
    assert not [name for name in {part(module) for module in SOURCES} - {"app"} if "app" in parts_imported(name)]


# Things stay short.


@pytest.mark.parametrize("path", SOURCES.values(), ids=named)
def test_files_and_functions_stay_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 300
    assert {name: lines for name, lines in functions(path) if lines >= 60} == {}


@pytest.mark.parametrize("script", ["train.py", "generate.py", "evaluate.py", "app.py"])
def test_entry_points_hold_no_logic(script: str) -> None:
    assert {name: lines for name, lines in functions(ROOT / script) if lines > 40} == {}


@pytest.mark.parametrize("path", [path for path in EXPERIMENTS if path.stem != "drum_diffusion"], ids=named)
def test_an_experiment_is_a_short_diff(path: Path) -> None:
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    assert lines[0].startswith("#"), "an experiment starts with its reason and its command"
    assert len([line for line in lines if line and not line.startswith("#")]) < 30


# Configs explain themselves and compose.


def key_lines(node: yaml.Node) -> Iterator[tuple[str, int]]:
    """Yield each key of a YAML document with its line, except the word `defaults`, which Hydra explains."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value != "defaults":
                yield key.value, key.start_mark.line
            yield from key_lines(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from key_lines(value)


def test_every_key_of_the_reference_experiment_is_explained() -> None:
    text = (ROOT / "exp" / "drum_diffusion.yaml").read_text(encoding="utf-8")
    lines = [re.sub(r"'[^']*'|\"[^\"]*\"", "", line) for line in text.splitlines()]  # a # in quotes is no comment

    def explained(number: int) -> bool:
        above = lines[number - 1].strip() if number else ""
        return bool(re.search(r"\s#\s*\w", lines[number]) or re.match(r"#\s*\w", above))

    keys = list(key_lines(yaml.compose(text, Loader=yaml.SafeLoader)))
    assert keys
    assert [f"line {number + 1}: {key}" for key, number in keys if not explained(number)] == []


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand where the entry points stand, with the one variable that they set before Hydra looks for exp/."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PROJECT_ROOT", str(ROOT))


def composed(primary: str, *overrides: str) -> DictConfig:
    """Compose a primary config as its entry point does."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose(primary, list(overrides))


def choosing(primary: Path, group: str) -> list[str]:
    """Return what a primary config's command line calls a group: `schedule` → `schedule@noise`, `schedule@ladder`."""
    entries = yaml.safe_load(primary.read_text(encoding="utf-8"))["defaults"]
    keys = [key.split()[-1] for entry in entries if isinstance(entry, dict) for key in entry]
    if "/" in group:  # chosen by a config of the group above
        return [group] if group.split("/")[0] in keys else []
    return [key for key in keys if key.split("@")[0] == group]


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("primary", PRIMARIES, ids=named)
def test_a_primary_config_composes(primary: Path) -> None:
    assert composed(primary.stem)


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("path", CHOICES, ids=named)
def test_a_choice_composes(path: Path) -> None:
    group = path.parent.relative_to(CONFIGS).as_posix()
    places = [(primary.stem, key) for primary in PRIMARIES for key in choosing(primary, group)]
    assert places, f"no primary config chooses from configs/{group}"
    for primary, key in places:
        assert composed(primary, f"{key}={path.stem}")


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("path", EXPERIMENTS, ids=named)
def test_an_experiment_composes(path: Path) -> None:
    config = composed("config", f"exp={path.stem}")
    assert config.network._target_.startswith(f"{PACKAGE}.network.")
    # a second exp= outranks the first, so that a line from the shell's history can be extended
    assert composed("config", f"exp={EXPERIMENTS[0].stem}", f"exp={path.stem}") == config
