"""The real servers that tests run against, each a process of its own on free ports.

They can be killed and started again on the same port with the same data.
"""

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from services.standalone import nats_server
from services.standalone.lifeline import ends_with_parent

ROOT = Path(__file__).parent.parent
START_SECONDS = 30.0
MIB = 1024 * 1024
PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")


class Role:
    """`weir ...` as a child that says when it is ready."""

    def __init__(self, words: Sequence[str], folder: Path, **env: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._words = words
        self._log = folder / f"{'-'.join(words[:2])}.log".replace("/", "")
        inherited = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        self._env = {**inherited, "PYTHONPATH": str(ROOT), **env}
        self._process: subprocess.Popen[bytes] | None = None
        self.info: dict[str, Any] = {}

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, *, wait: bool = True) -> None:
        self.launch()
        if wait:
            self.await_ready()
        else:
            os.close(self._told)

    def launch(self) -> None:
        """Without waiting: see `await_ready`."""
        self._told, writing = os.pipe()
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services", *self._words, "--ready-fd", str(writing)],
                cwd=ROOT,
                env=self._env,
                pass_fds=(writing,),
                preexec_fn=ends_with_parent(),  # noqa: PLW1509 - one libc call
                stdout=output,
                stderr=output,
            )
        os.close(writing)

    def await_ready(self) -> None:
        with open(self._told, "rb") as told:  # noqa: PTH123 - a file descriptor
            self.info = self._read_info(told.fileno())

    def _read_info(self, fd: int) -> dict[str, Any]:
        with selectors.DefaultSelector() as selector:
            selector.register(fd, selectors.EVENT_READ)
            line = os.read(fd, 4096) if selector.select(START_SECONDS) else b""
        if not line:
            self.kill()
            raise AssertionError(f"{self._words} did not get ready:\n{self.log}")
        return json.loads(line)

    def kill(self) -> None:
        """As `kill -9` does."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        if self._process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self._words} did not stop:\n{self.log}") from None


class ClickHouse(Role):
    """The embedded ClickHouse."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        super().__init__(
            ["clickhouse", "--data", str(folder / "clickhouse"), "--port", str(self.port)], folder
        )
        self.url = f"http://127.0.0.1:{self.port}"

    def client(self, **options: Any) -> Any:
        import clickhouse_connect  # noqa: PLC0415 - only where it is needed

        return clickhouse_connect.get_client(host="127.0.0.1", port=self.port, **options)

    def query(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Rows, as an analyst's own client gets them."""
        client = self.client()
        try:
            return [tuple(row) for row in client.query(sql, parameters=parameters).result_rows]
        finally:
            client.close()


class Nats:
    """A NATS server with JetStream, configured as `weir up` does."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.max_payload: int | None = None
        """Smaller than ours, as somebody else's server may have it."""
        self.url = f"nats://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def monitoring_url(self) -> str:
        found = nats_server.read_addresses(self.folder)
        assert found is not None
        return found["monitoring_url"]

    def start(self) -> None:
        config = nats_server.write_config(self.folder, port=self.port, max_body_bytes=32 * MIB)
        if self.max_payload is not None:
            told = json.loads(config.read_bytes()) | {"max_payload": self.max_payload}
            config.write_text(json.dumps(told))  # JSON is a subset of its own format
        with (self.folder / "nats.log").open("ab") as output:
            self._process = subprocess.Popen(
                [nats_server.find_binary(), "--config", str(config)],
                preexec_fn=ends_with_parent(),  # noqa: PLW1509 - one libc call
                stdout=output,
                stderr=output,
            )
        wait_for_port(self.url)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    stop = kill


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(url: str) -> None:
    where = urlsplit(url)
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection((where.hostname, where.port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise AssertionError(f"nothing listens at {url}") from None
            time.sleep(0.01)
        else:
            return
