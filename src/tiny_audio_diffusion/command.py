"""What every command line tool does first and last: read .env, and turn a user's mistake into one clear message."""

import logging
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from dotenv import load_dotenv

from tiny_audio_diffusion import arguments

ROOT = Path(__file__).resolve().parents[2]


def prepare() -> None:
    """Load .env (optional; the shell outranks it), point Hydra at this checkout, check that torchaudio loads."""
    load_dotenv(ROOT / ".env")
    for name, default in (("DIR_LOGS", "/logs"), ("DIR_DATA", "/data")):
        os.environ[name] = "/" + (os.environ.get(name) or default).strip("/")
    for name in ("WANDB_API_KEY", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_MODE"):
        if not os.environ.get(name):  # left empty in .env means not set
            os.environ.pop(name, None)
    os.environ["PROJECT_ROOT"] = str(ROOT)
    if not arguments.is_first_process():
        logging.getLogger("tiny_audio_diffusion").setLevel(logging.WARNING)  # the first process speaks for all
    try:
        import torchaudio  # noqa: F401
    except (ImportError, OSError) as error:
        import torch

        sys.exit(
            f"torchaudio does not load beside torch {torch.__version__}: {error}\n"
            "Install the tested pair: pip install torch==2.11.0 torchaudio==2.11.0"
        )


def logs_folder() -> Path:
    """Where runs lie, as .env says it."""
    return ROOT / os.environ["DIR_LOGS"].strip("/")


def say(message: str) -> None:
    """A line for the user and the run's log file."""
    logging.getLogger("tiny_audio_diffusion").info(message)


def friendly(action: Callable[..., Any]) -> Callable[..., Any]:
    """One message and exit code 1 for mistakes that a user can mend; HYDRA_FULL_ERROR=1 shows where they arose."""

    @wraps(action)
    def wrapped(*values: Any, **options: Any) -> Any:
        try:
            return action(*values, **options)
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            sys.exit(130)
        except Exception as error:
            message = _message(error)
            if message is None or os.environ.get("HYDRA_FULL_ERROR"):
                raise
            sys.exit(f"error: {message}")

    return wrapped


def training_arguments(main: Callable[[], None]) -> Callable[[], None]:
    """Let Hydra's `main` read the command line of train.py as people write it."""
    experiments = sorted(path.stem for path in (ROOT / "exp").glob("*.yaml"))
    return _reading(main, lambda given: arguments.for_training(given, experiments=experiments))


def generation_arguments(main: Callable[[], None]) -> Callable[[], None]:
    """Let Hydra's `main` read the command line of generate.py as people write it."""
    return _reading(main, arguments.for_generation)


def evaluation_arguments(main: Callable[[], None]) -> Callable[[], None]:
    """Let Hydra's `main` read the command line of evaluate.py as people write it."""
    return _reading(main, arguments.for_evaluation)


def _reading(main: Callable[[], None], read: Callable[[list[str]], list[str]]) -> Callable[[], None]:
    @wraps(main)
    def wrapped() -> None:
        sys.argv[1:] = friendly(read)(sys.argv[1:])
        main()

    return wrapped


def _message(error: BaseException) -> str | None:
    """What a user can mend, in words; None for anything else, which keeps its traceback."""
    import torch
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):  # a GPU, the CPU
        return (
            "out of memory: take fewer sounds at a time with a smaller batch_size=, or shorter ones; in training "
            "batch_size=4 accumulate_grad_batches=4 learns from as many sounds per step as batch_size=16, and train.py "
            "with estimate=true limit=2GiB pick=true finds settings that fit (docs/memory.md)"
        )
    cause = error.__cause__
    if isinstance(error, HydraException) and cause is not None:  # Hydra wraps what a constructor said
        return _message(cause) or f"{cause} ({type(cause).__name__}; HYDRA_FULL_ERROR=1 shows where)"
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    known = isinstance(error, ValueError | OSError | FloatingPointError | HydraException | OmegaConfBaseException)
    return _without_traceback(str(error)) if known else None


def _without_traceback(message: str) -> str:
    """What was said in a loader's process: torch hands it on with the traceback from there, and the message last."""
    if not message.startswith("Caught ") or "Original Traceback" not in message:
        return message
    return message.rstrip().splitlines()[-1].partition(": ")[2]
