"""How much memory a training would take, without training and without sounds; docs/memory.md.

    python utils/estimate_memory.py exp=drum_diffusion [any setting of train.py] [limit=2GiB [pick=true]] [device=cuda]

The same as python train.py … estimate=true, and device= is estimate=: cpu, cuda, or where the training would run.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import train


def main() -> None:
    devices = [argument.partition("=")[2] for argument in sys.argv[1:] if argument.startswith("device=")]
    sys.argv[1:] = [argument for argument in sys.argv[1:] if not argument.startswith("device=")]
    if not any(argument.startswith("estimate=") for argument in sys.argv[1:]):
        sys.argv.append(f"estimate={devices[-1] if devices else 'true'}")
    train.main()


if __name__ == "__main__":
    main()
