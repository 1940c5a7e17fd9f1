"""How much memory processes have, as the kernel counts it."""

from pathlib import Path

KIB = 1024


def resident(pids: dict[str, int]) -> dict[str, int]:
    """Bytes of resident memory, by name."""
    return {name: _resident(pid) for name, pid in pids.items()}


def _resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * KIB
    raise AssertionError(f"process {pid} has no memory")
