"""Runs that are killed at any moment and go on end with the weights of a run that was never stopped, bit for bit."""

import multiprocessing
import os
import random
import socket
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from runs import QUIET, tiny_config, train, write_sounds

from tiny_audio_diffusion import storage
from tiny_audio_diffusion.module import Module

pytestmark = QUIET

STEPS = 16
PACE_SECONDS = 0.05  # of a step, so that there is time to kill it in
KILLS = 3
OPTIONS = [
    f"trainer.max_steps={STEPS}",
    "callbacks.checkpoint.every_steps=3",
    "val_log_every_n_steps=20",
    "sample_count=0",
    "module.warmup_steps=4",
    "datamodule.dataset.augment.gain_decibels=3",
]


def work(
    sounds: Path, folder: Path, options: Sequence[str], environment: dict[str, str], begun: Path, slow: Path | None
) -> None:
    """One process of a run; with `slow` it stops for a while in the middle of writing its second checkpoint."""
    os.environ |= environment
    multiprocessing.set_start_method("fork", force=True)  # as a run started at the shell has it, for its workers
    torch.set_num_threads(1)
    if slow:
        write_slowly(slow)
    step = Module.training_step

    def paced(self: Module, batch: dict, index: int) -> torch.Tensor:
        begun.touch()
        time.sleep(PACE_SECONDS / self.trainer.accumulate_grad_batches)
        return step(self, batch, index)

    Module.training_step = paced  # type: ignore[method-assign]
    train(tiny_config(sounds, folder, *OPTIONS, *options))


def write_slowly(told: Path) -> None:
    save, count = torch.save, 0

    def halfway(content: object, stream: object) -> None:
        nonlocal count
        count += 1
        save(content, stream)
        if count == 2:
            stream.truncate(stream.tell() // 2)  # type: ignore[attr-defined]
            stream.flush()  # type: ignore[attr-defined]
            told.touch()
            time.sleep(60)

    storage.torch.save = halfway  # type: ignore[attr-defined, assignment]


def start(
    sounds: Path, folder: Path, options: Sequence[str], *, processes: int, begun: Path, slow: Path | None = None
) -> list[BaseProcess]:
    """The processes of a run, as torchrun would start them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tiny_audio_diffusion.training", "tiny_audio_diffusion.data.folder"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = []
    for rank in range(processes):
        environment = {"LOCAL_RANK": str(rank), "RANK": str(rank), "WORLD_SIZE": str(processes), "GROUP_RANK": "0"}
        environment |= {"LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        environment |= {"TORCHELASTIC_RUN_ID": "test"}
        given = environment if processes > 1 else {}
        group.append(context.Process(target=work, args=(sounds, folder, options, given, begun, slow)))
        group[-1].start()
    return group


def end(group: list[BaseProcess]) -> bool:
    """Whether all processes came to their end by themselves."""
    for process in group:
        process.join(120)
    return all(process.exitcode == 0 for process in group)


def wait_for(file: Path, group: list[BaseProcess]) -> None:
    while not file.exists() and any(process.is_alive() for process in group):
        time.sleep(0.005)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    content = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert content["global_step"] == STEPS
    moments = content["optimizer_states"][0]["state"]
    flat = {f"moment {index} {name}": value for index, each in moments.items() for name, value in each.items()}
    for name in ("state_dict", "current_model_state"):
        flat |= {f"{name} {key}": value for key, value in content[name].items()}
    return flat | {"drawn": torch.tensor(content["DataModule"]["drawn"])}


def metrics(folder: Path) -> list[str]:
    return (folder / "metrics.csv").read_text().splitlines()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_runs_end_like_others(tmp_path: Path, workers: int, accumulation: int, processes: int) -> None:
    sounds = write_sounds(tmp_path / "sounds", 7)
    options = [f"num_workers={workers}", f"accumulate_grad_batches={accumulation}"]
    if processes > 1:
        options += [
            f"trainer.devices={processes}",
            "trainer.gpus=null",
            "trainer.accelerator=cpu",
            "trainer.strategy=ddp",
        ]
    assert end(start(sounds, tmp_path / "whole", options, processes=processes, begun=tmp_path / "begun"))

    count = len(options)
    chance = random.Random(f"{workers} {accumulation} {processes}")
    for attempt in range(KILLS + 1):
        folder = tmp_path / f"attempt_{attempt}"
        begun, writing = folder / "begun", folder / "writing"
        folder.mkdir()
        slow = writing if attempt == 1 else None  # the second is killed while it writes a checkpoint
        group = start(sounds, folder, options, processes=processes, begun=begun, slow=slow)
        if attempt == KILLS:
            assert end(group)
            break
        wait_for(slow or begun, group)
        time.sleep(chance.uniform(0, 0.7 * STEPS * PACE_SECONDS))
        for process in group:
            process.kill()
            process.join()
        if (folder / "checkpoints" / "last.ckpt").exists():
            options = [*options[:count], f"ckpt='{folder}'"]
    one, other = weights(tmp_path / "whole"), weights(folder)
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
    assert metrics(folder) == metrics(tmp_path / "whole")
