"""What every test has in common: one thread, and nothing that reaches for a network or a screen."""

import os

# Read at import by the libraries, so set before any test file imports them. A test may still set its own.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("WANDB_MODE", "disabled")

import torch

torch.set_num_threads(1)  # networks this small lose more to waiting for threads than they gain
