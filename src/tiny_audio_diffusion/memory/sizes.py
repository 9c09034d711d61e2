"""Amounts of memory as people write them, and as we do."""

import re

UNITS = {"": 1, "B": 1, **{f"{prefix}iB": 1024**power for power, prefix in enumerate("KMGT", start=1)}}
UNITS |= {f"{prefix}B": 1000**power for power, prefix in enumerate("kMGT", start=1)}
MIB, GIB = UNITS["MiB"], UNITS["GiB"]


def parse(text: str | int | float) -> int:
    """Bytes of 2GiB, 512MiB, 1.5GB or a plain number of bytes, in any case of letters."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", str(text))
    units = {name.lower(): size for name, size in UNITS.items()}
    if not found or found[2].lower() not in units:
        raise ValueError(f"limit={text} is no amount of memory: write it as 2GiB, 512MiB or 1.5GB")
    size = int(float(found[1]) * units[found[2].lower()])
    if size < MIB:
        raise ValueError(f"limit={text} is {size} bytes, less than anything needs: write it as 2GiB, 512MiB or 1.5GB")
    return size


def mib(size: int) -> str:
    """Bytes in MiB, with one decimal."""
    return f"{size / MIB:,.1f} MiB"


def gib(size: int) -> str:
    """Bytes in GiB, with two decimals, or in MiB where they are few."""
    return f"{size / GIB:.2f} GiB" if size >= GIB // 5 else mib(size)
