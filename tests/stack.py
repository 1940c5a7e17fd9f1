"""A whole gateway for a test: `weir up` as a user starts it, and a simulated vendor behind it."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
START_SECONDS = 90.0
PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")


class Command:
    """A child process of this program, its output in a file."""

    def __init__(self, words: list[str], env: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services", *words],
                env={**_inherited(), **env},
                cwd=log.parent,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class Program(Command):
    """One that writes a ready file."""

    def __init__(self, words: list[str], ready_file: Path, env: dict[str, str], log: Path) -> None:
        self.ready_file = ready_file
        super().__init__([*words, "--ready-file", str(ready_file)], env, log)

    def ready(self) -> dict[str, Any]:
        """What the ready file says, once it is there."""

        def written() -> dict[str, Any] | None:
            if self.process.poll() is not None:
                raise AssertionError(f"it ended before it was ready:\n{self.log.read_text()}")
            if not self.ready_file.exists():
                return None
            try:
                return json.loads(self.ready_file.read_bytes())
            except ValueError:
                return None

        return eventually(written, START_SECONDS)


def _inherited() -> dict[str, str]:
    """What a child gets of this process's environment: no vendor's key above all."""
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {**passed, "PYTHONPATH": str(ROOT)}


def eventually(probe: Callable[[], Any], timeout: float = 20.0) -> Any:
    """What `probe` gives once it is neither None nor False; fails after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        found = probe()
        if found is not None and found is not False:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{probe} did not come true in {timeout:g} s")
        time.sleep(0.02)


class Stack:
    """A running gateway: where it is, its key, its rows."""

    def __init__(self, facts: dict[str, Any], simulator: str) -> None:
        self.url: str = facts["url"]
        self.key: str = facts["key"]
        self.nats_url: str = facts["nats_url"]
        self.clickhouse_url: str = facts["clickhouse_url"]
        self.pids: dict[str, int] = facts["pids"]
        self.simulator = simulator

    def query(self, sql: str, **parameters: object) -> list[tuple[Any, ...]]:
        """Rows of ClickHouse, as an analyst's own client gets them."""
        from urllib.parse import urlsplit  # noqa: PLC0415

        import clickhouse_connect  # noqa: PLC0415 - only where it is needed

        where = urlsplit(self.clickhouse_url)
        client = clickhouse_connect.get_client(host=where.hostname, port=where.port)
        try:
            return [tuple(row) for row in client.query(sql, parameters=parameters).result_rows]
        finally:
            client.close()

    @contextmanager
    def command(self, *words: str) -> Generator["Command"]:
        """`weir ...` beside this gateway, until the block is left."""
        with tempfile.TemporaryDirectory() as folder:
            command = Command([*words], {"NATS_URL": self.nats_url}, Path(folder) / "log")
            try:
                yield command
            finally:
                command.stop()

    def new_key(self, tenant: str, agent: str) -> str:
        """A fresh key, once ingress knows it."""
        made = subprocess.run(
            [
                *(sys.executable, "-m", "services", "keys", "create"),
                *("--tenant", tenant, "--agent", agent),
            ],
            env={**_inherited(), "NATS_URL": self.nats_url},
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        key = made.stdout.strip()

        def known() -> bool:
            asked = urllib.request.Request(f"{self.url}/v1/models", headers={"x-api-key": key})
            try:
                with urllib.request.urlopen(asked):
                    return True
            except urllib.error.HTTPError:
                return False

        eventually(known)
        return key

    def rows(self, where: str, columns: str = "*", count: int = 1) -> list[tuple[Any, ...]]:
        """The rows of `calls` that match, once there are `count` of them."""

        def found() -> list[tuple[Any, ...]] | None:
            rows = self.query(f"SELECT {columns} FROM calls WHERE {where}")  # noqa: S608
            return rows if len(rows) >= count else None

        return eventually(found)


@contextmanager
def simulated_vendor(folder: Path, *, record: int = 0) -> Generator[str]:
    """The base URL of a running simulator."""
    words = ["simulate", "--port", "0", "--record", str(record)]
    program = Program(words, folder / "simulator.json", {}, folder / "simulator.log")
    try:
        yield str(program.ready()["url"]).removesuffix("/v1")
    finally:
        program.stop()


@contextmanager
def gateway(
    folder: Path, env: dict[str, str], *, vendor: str = "", local_model: bool = False
) -> Generator[Stack]:
    """`weir up` on free ports, with a data folder of its own."""
    up = ["up", "--port", "0", "--nats-port", "0", "--clickhouse-port", "0"]
    up += [] if local_model else ["--no-model"]
    program = Program(
        [*up, "--data", str(folder / "data")], folder / "ready.json", env, folder / "weir.log"
    )
    try:
        yield Stack(program.ready(), vendor)
    finally:
        program.stop()


def vendors_at(url: str) -> dict[str, str]:
    """The environment in which both vendors are at one loopback server."""
    return {
        "ANTHROPIC_API_KEY": "sk-ant-upstream-credential",
        "ANTHROPIC_BASE_URL": url,
        "OPENAI_API_KEY": "sk-upstream-credential",
        "OPENAI_BASE_URL": f"{url}/v1",
    }
