"""Children of `weir up`, with programs of a few lines in the roles' places."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.standalone.child import Child, Part, StartError
from services.standalone.supervisor import Supervisor

ROOT = Path(__file__).parents[2]

ANNOUNCE = """
import json, os, signal, sys, time
fd = int(sys.argv[sys.argv.index("--ready-fd") + 1])
def ready(info):
    os.write(fd, json.dumps(info).encode() + b"\\n")
    os.close(fd)
"""
SERVES = f"{ANNOUNCE}ready({{'url': 'http://127.0.0.1:4711'}}); time.sleep(600)"
REFUSES = "import sys; print('weir: NATS_URL is wrong', file=sys.stderr); sys.exit(2)"
STUBBORN = f"{ANNOUNCE}signal.signal(signal.SIGTERM, signal.SIG_IGN); ready({{}}); time.sleep(600)"


def _part(program: str, role: str = "role") -> Part:
    def command(port: int) -> list[str]:
        return [sys.executable, "-c", program, str(port)]

    return Part(role, command, dict(os.environ))


async def _until(condition, within: float = 10.0) -> None:
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.01)


def _gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet has ended too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
async def supervisor(tmp_path: Path, said: list[str]) -> AsyncIterator[Supervisor]:
    async with Supervisor(tmp_path, said.append) as it:
        yield it


async def test_a_child_is_ready_when_it_says_so(supervisor: Supervisor) -> None:
    part = _part(SERVES)
    assert await supervisor.start(part) == {"url": "http://127.0.0.1:4711"}
    assert part.port == 4711
    assert supervisor.pids().keys() == {"role"}


async def test_a_child_that_ends_too_early_shows_its_last_words(supervisor: Supervisor) -> None:
    with pytest.raises(StartError, match="stopped before it was ready") as failure:
        await supervisor.start(_part(REFUSES))
    assert failure.value.status == 2
    assert failure.value.lines == ["weir: NATS_URL is wrong"]


async def test_a_dead_child_is_started_again_on_its_port(
    supervisor: Supervisor, said: list[str], tmp_path: Path
) -> None:
    part = _part(f"{ANNOUNCE}print(sys.argv[1], flush=True)\n{SERVES}")
    await supervisor.start(part)
    first = supervisor.pids()["role"]
    os.kill(first, signal.SIGKILL)
    await _until(lambda: said[-1:] == ["role is ready again"])
    assert "role ended (killed by SIGKILL)" in said[0]
    assert supervisor.pids()["role"] != first
    assert (tmp_path / "role.log").read_text().split() == ["0", "4711"]


async def test_children_stop_in_reverse_order(tmp_path: Path) -> None:
    order = tmp_path / "order"
    program = f"""{ANNOUNCE}
def end(*_):
    with open({str(order)!r}, "a") as file:
        file.write(sys.argv[1] + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
ready({{}})
time.sleep(600)
"""
    async with Supervisor(tmp_path, lambda _: None) as supervisor:
        for number in (1, 2, 3):
            part = _part(program, f"role{number}")
            part.port = number
            await supervisor.start(part)
    assert order.read_text().split() == ["3", "2", "1"]


async def test_a_child_that_will_not_stop_is_killed(tmp_path: Path) -> None:
    child = Child(_part(STUBBORN), tmp_path / "role.log")
    await child.start()
    pid = child.pid
    assert pid is not None
    await child.stop(grace=0.1)
    assert _gone(pid)
    assert child.pid is None


async def test_the_log_of_the_last_run_is_kept_once(tmp_path: Path) -> None:
    for word in ("one", "two", "three"):
        async with Supervisor(tmp_path, lambda _: None) as supervisor:
            with contextlib.suppress(StartError):
                await supervisor.start(_part(f"print({word!r})"))
    assert (tmp_path / "role.log").read_text() == "three\n"
    assert (tmp_path / "role.log.1").read_text() == "two\n"


PARENT = f"""
import asyncio, os, sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from services.standalone.child import Part
from services.standalone.supervisor import Supervisor

async def main():
    async with Supervisor(Path(sys.argv[1]), print) as supervisor:
        command = lambda port: [sys.executable, "-c", sys.argv[2]]
        await supervisor.start(Part("role", command, dict(os.environ)))
        print(supervisor.pids()["role"], flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel does it on Linux alone")
async def test_children_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path), STUBBORN]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        assert not _gone(pid)
        parent.kill()
        parent.wait()
        await _until(lambda: _gone(pid))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
async def test_a_tethered_program_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    """What stands in for the kernel where it does not watch."""
    pid_file = tmp_path / "pid"
    program = f"""
import os, time
with open({str(pid_file)!r}, "w") as file:
    file.write(f"{{os.getpid()}}.")
time.sleep(600)
"""
    tether = [sys.executable, "-m", "services.standalone.lifeline", sys.executable, "-c", program]
    starts = f"import subprocess; subprocess.run({tether!r}, cwd={str(ROOT)!r})"
    with subprocess.Popen([sys.executable, "-c", starts]) as parent:
        await _until(lambda: pid_file.exists() and pid_file.read_text().endswith("."))
        pid = int(pid_file.read_text()[:-1])
        assert not _gone(pid)
        parent.kill()
        parent.wait()
        await _until(lambda: _gone(pid))
