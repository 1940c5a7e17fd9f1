"""A first look at speed: calls/s, latency and CPU per call by role, on one machine.

    python tests/bench/first_look.py [--seconds 4]

Starts a simulator and a whole gateway (audit and ClickHouse included), loads it, and prints a
Markdown table. The load generator and the simulator share the machine's cores.
"""

import argparse
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvloop

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from tests.bench.load import call_body, load, request_bytes, summary
from tests.stack import Stack, gateway, simulated_vendor, vendors_at

TICKS = os.sysconf("SC_CLK_TCK")
PATH, MODEL = "/v1/chat/completions", "openai/sim:chunks=50"
CASES = [(1, False), (32, False), (1, True), (32, True)]
WARM_UP_SECONDS = 1.0


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def measure(stack: Stack, in_flight: int, seconds: float, *, stream: bool) -> dict[str, Any]:
    body = call_body(MODEL, stream=stream, size=1000)
    request = request_bytes(stack.url, PATH, stack.key, body)
    uvloop.run(load(stack.url, request, in_flight, WARM_UP_SECONDS))
    before = {role: cpu_seconds(pid) for role, pid in stack.pids.items()}
    result: dict[str, Any] = summary(*uvloop.run(load(stack.url, request, in_flight, seconds)))
    spent = {role: cpu_seconds(pid) - before[role] for role, pid in stack.pids.items()}
    result["cpu_us"] = {role: round(cpu / result["calls"] * 1e6) for role, cpu in spent.items()}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    with ExitStack() as entered:
        folder = Path(entered.enter_context(tempfile.TemporaryDirectory()))
        vendor = entered.enter_context(simulated_vendor(folder))
        stack = entered.enter_context(gateway(folder, vendors_at(vendor), vendor=vendor))
        roles = sorted(stack.pids)
        print("| in flight | answer | calls/s | p50 ms | p99 ms | errors |", end="")
        print("".join(f" {role} us |" for role in roles))
        print("|---|---|--:|--:|--:|--:|" + "--:|" * len(roles))
        for in_flight, stream in CASES:
            got = measure(stack, in_flight, options.seconds, stream=stream)
            answer = "50 chunks" if stream else "whole"
            cells = [got[name] for name in ("calls_per_s", "p50_ms", "p99_ms", "errors")]
            cells += [got["cpu_us"][role] for role in roles]
            print(f"| {in_flight} | {answer} | " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
