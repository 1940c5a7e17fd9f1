"""One child process: started, known to be ready, logged into a bounded file, stopped.

Called by the supervisor. A role says that it is ready by one JSON line on the file descriptor
named by `--ready-fd`; a program that is not ours is asked by a probe. When to start it again is
not decided here.
"""

import asyncio
import os
import signal
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from .lifeline import ends_with_parent

SECONDS_TO_BE_READY = 60.0
MAX_LOG_BYTES = 16 * 1024 * 1024
_SECONDS_BETWEEN_PROBES = 0.02
_LINES_SHOWN = 12

Info = dict[str, str]
"""What a role says of itself once it is ready: `url` where it serves one."""


@dataclass
class Part:
    """What to start. A port 0 is chosen at the first start, then kept: others know it by now."""

    role: str
    command: Callable[[int], list[str]]
    env: Mapping[str, str]
    port: int = 0
    probe: Callable[[], Info | None] | None = None
    shows: str = ""


class StartError(Exception):
    """A child that did not get ready, with the last lines that it wrote."""

    def __init__(self, role: str, reason: str, status: int | None, lines: list[str]) -> None:
        super().__init__(f"{role} {reason}")
        self.status = status
        self.lines = lines


@dataclass
class Child:
    part: Part
    log: Path
    info: Info = field(default_factory=dict[str, str])
    started: float = 0.0
    process: Process | None = None

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process and self.process.returncode is None else None

    async def start(self) -> None:
        """Raise StartError, with the process gone, if it does not get ready."""
        self.started = time.monotonic()
        reading, writing = os.pipe()
        try:
            self.process = await self._spawn(writing)
        finally:
            os.close(writing)
        try:
            async with asyncio.timeout(SECONDS_TO_BE_READY):
                said = await (self._ask(self.process) if self.part.probe else _read_line(reading))
        except TimeoutError:
            self.kill()
            raise self._failure(f"was not ready after {SECONDS_TO_BE_READY:.0f} s") from None
        except BaseException:
            self.kill()
            raise
        if said is None:
            await self.process.wait()
            raise self._failure("stopped before it was ready")
        self.info = said
        self.part.port = urlsplit(said.get("url", "")).port or self.part.port

    async def _spawn(self, ready_fd: int) -> Process:
        announce = [] if self.part.probe else ["--ready-fd", str(ready_fd)]
        with self.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *self.part.command(self.part.port),
                *announce,
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                env=self.part.env,
                pass_fds=() if self.part.probe else (ready_fd,),
                start_new_session=True,  # the terminal's Ctrl-C is the supervisor's alone
                preexec_fn=ends_with_parent(),
            )

    async def _ask(self, process: Process) -> Info | None:
        while process.returncode is None:
            if self.part.probe and (said := self.part.probe()) is not None:
                return said
            await asyncio.sleep(_SECONDS_BETWEEN_PROBES)
        return None

    def _failure(self, reason: str) -> StartError:
        status = self.process.returncode if self.process else None
        return StartError(self.part.role, reason, status, self.last_lines())

    def last_lines(self) -> list[str]:
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - 8192))
            return log.read().decode(errors="replace").splitlines()[-_LINES_SHOWN:]

    async def stop(self, grace: float) -> None:
        """Ask, wait, insist."""
        if self.process is None or self.process.returncode is not None:
            return
        self.process.terminate()
        try:
            await asyncio.wait_for(self.process.wait(), grace)
        except TimeoutError:
            self.kill()
            await self.process.wait()

    def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()

    def rotate_log(self) -> None:
        """Keep one older log. Writers append, so a log of a running child is cut in place."""
        if self.log.exists() and self.log.stat().st_size:
            old = self.log.with_name(f"{self.log.name}.1")
            old.write_bytes(self.log.read_bytes()[-MAX_LOG_BYTES:])
            os.truncate(self.log, 0)


def describe_status(status: int | None) -> str:
    if status is None:
        return "still running"
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}"


async def _read_line(fd: int) -> Info | None:
    reader = asyncio.StreamReader()
    pipe = os.fdopen(fd, "rb", 0)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    try:
        line = await reader.readline()
    finally:
        transport.close()
    return msgspec.json.decode(line, type=Info) if line.endswith(b"\n") else None
