"""What every command line tool does first and last: read .env, and turn a user's mistake into one clear message."""

import logging
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from dotenv import load_dotenv

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
    if int(os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_PROCID") or 0) > 0:
        logging.getLogger("tiny_audio_diffusion").setLevel(logging.WARNING)  # the first process speaks for all
    try:
        import torchaudio  # noqa: F401
    except (ImportError, OSError) as error:
        import torch

        sys.exit(
            f"torchaudio does not load beside torch {torch.__version__}: {error}\n"
            "Install the tested pair: pip install torch==2.11.0 torchaudio==2.11.0"
        )


def say(message: str) -> None:
    """A line for the user and the run's log file."""
    logging.getLogger("tiny_audio_diffusion").info(message)


def friendly(action: Callable[..., Any]) -> Callable[..., Any]:
    """One message and exit code 1 for mistakes that a user can mend; HYDRA_FULL_ERROR=1 shows where they arose."""

    @wraps(action)
    def wrapped(*args: Any, **options: Any) -> Any:
        try:
            return action(*args, **options)
        except (ValueError, OSError, FloatingPointError, KeyError, TypeError) as error:
            if os.environ.get("HYDRA_FULL_ERROR"):
                raise
            sys.exit(f"error: {_message(error)}")
        except Exception as error:
            from hydra.errors import HydraException
            from omegaconf.errors import OmegaConfBaseException

            if os.environ.get("HYDRA_FULL_ERROR") or not isinstance(error, HydraException | OmegaConfBaseException):
                raise
            sys.exit(f"error: {_message(error)}")

    return wrapped


def _message(error: BaseException) -> str:
    """The first cause: Hydra wraps what a constructor said in lines about itself."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error)
