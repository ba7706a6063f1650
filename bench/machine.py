"""What the figures were measured on."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from bench.stack import Bench

CPUINFO = Path("/proc/cpuinfo")
MOUNTS = Path("/proc/mounts")
DURABILITY = ("fsync", "synchronous_commit", "full_page_writes")


@dataclass(frozen=True)
class Machine:
    cores: int
    model: str
    memory: str
    python: str
    postgresql: str
    shared_buffers: str
    durability: dict[str, str]
    filesystem: str
    load_average: tuple[float, float, float]  # before anything was started


def describe(bench: Bench, load_average: tuple[float, float, float]) -> Machine:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(
        cores=os.cpu_count() or 0,
        model=_model(),
        memory=f"{memory / 2**30:.0f} GB",
        python=platform.python_version(),
        postgresql=str(bench.ask("SHOW server_version")),
        shared_buffers=str(bench.ask("SHOW shared_buffers")),
        durability={name: str(bench.ask(f"SHOW {name}")) for name in DURABILITY},
        filesystem=_filesystem(bench.logs),
        load_average=load_average,
    )


def _model() -> str:
    lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _filesystem(path: Path) -> str:
    """What a commit is written to. On tmpfs it would cost nothing, and prove nothing."""
    mounts = [line.split() for line in MOUNTS.read_text().splitlines()]
    holding = [(each[1], each[2]) for each in mounts if path.is_relative_to(each[1])]
    return max(holding, key=lambda each: len(each[0]))[1]
