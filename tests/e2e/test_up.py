"""`weir up` as a user starts it: its printed lines work, its data stays, nothing is left over.

The model is the real local one, so what is checked of an answer is its shape, never its words.
"""

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from services.standalone import local_model

ROOT = Path(__file__).parents[2]
WEIR = [sys.executable, "-P", "-m", "services"]
FREE_PORTS = ["--port", "0", "--nats-port", "0", "--clickhouse-port", "0"]
ROLES = {"nats", "clickhouse", "model", "audit", "provider", "pipeline", "ingress"}

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(shutil.which("curl") is None, reason="no curl to paste the lines into"),
    pytest.mark.skipif(not local_model.is_installed(), reason="no local model on this platform"),
]


def _environment(**more: str) -> dict[str, str]:
    """A user's environment without any of our settings."""
    ours = ("LLM_", "WEIR_", "NATS_", "CLICKHOUSE_", "OPENAI_", "ANTHROPIC_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"PYTHONPATH": str(ROOT)} | more


Found = TypeVar("Found")


def _until(found: Callable[[], Found], within: float = 60.0) -> Found:
    deadline = time.monotonic() + within
    while not (result := found()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)
    return result


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@dataclass
class Running:
    """One `weir up`."""

    process: subprocess.Popen[bytes]
    output: Path
    ready: dict[str, Any]

    @property
    def said(self) -> str:
        return self.output.read_text()

    def line(self, path: str) -> list[str]:
        """The printed command that calls `path`."""
        (found,) = [
            line
            for line in self.said.splitlines()
            if line.startswith("curl ") and f"{path} " in line
        ]
        return shlex.split(found)

    def query(self, sql: str) -> str:
        request = urllib.request.Request(self.ready["clickhouse_url"], data=sql.encode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode().strip()

    def children(self) -> list[int]:
        listed = subprocess.run(
            ["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True
        )
        pairs = [line.split() for line in listed.stdout.splitlines()]
        return [int(pid) for pid, parent in pairs if int(parent) == self.process.pid]

    def end(self, number: signal.Signals) -> int:
        """End it; all that it has started must be gone, too."""
        children = self.children()
        assert len(children) == len(ROLES)
        self.process.send_signal(number)
        status = self.process.wait(30)
        _until(lambda: not any(_alive(pid) for pid in children), 10)
        return status


def _start(folder: Path) -> Running:
    output, ready_file = folder / "output", folder / "ready.json"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*WEIR, "up", *FREE_PORTS, "--data", "data", "--ready-file", str(ready_file)],
            cwd=folder,
            env=_environment(),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _until(lambda: ready_file.exists() or process.poll() is not None)
        assert process.poll() is None, output.read_text()
        return Running(process, output, json.loads(ready_file.read_text()))
    except BaseException:
        process.terminate()
        process.wait(30)
        raise


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("up")


@pytest.fixture(scope="module")
def up(folder: Path) -> Iterator[Running]:
    running = _start(folder)
    yield running
    if running.process.poll() is None:
        running.end(signal.SIGTERM)


def _refused(*arguments: str, **environment: str) -> str:
    """The one line of a command that must end with status 2."""
    done = subprocess.run(
        [*WEIR, *arguments],
        env=_environment(**environment),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    return line


def test_the_ready_file_names_everything(up: Running, folder: Path) -> None:
    assert up.ready["pids"].keys() == ROLES
    assert all(_alive(pid) for pid in up.ready["pids"].values())
    assert up.ready["data_dir"] == str(folder / "data")
    assert up.ready["key"].startswith("weir_")
    assert (folder / "ready.json").stat().st_mode & 0o777 == 0o600
    assert (folder / "data").stat().st_mode & 0o777 == 0o700
    for name in ("url", "key", "nats_url", "clickhouse_url"):
        assert up.ready[name] in up.said


def test_the_printed_anthropic_line_streams_an_answer(up: Running) -> None:
    answer = subprocess.run(up.line("/v1/messages"), capture_output=True, text=True, check=True)
    events = [
        json.loads(line.removeprefix("data: "))
        for line in answer.stdout.splitlines()
        if line.startswith("data: ")
    ]
    assert events[0]["type"] == "message_start"
    assert events[-1]["type"] == "message_stop"
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    assert len(deltas) > 1
    assert "".join(delta["text"] for delta in deltas).strip()


def test_the_printed_openai_line_streams_an_answer(up: Running) -> None:
    command = up.line("/v1/chat/completions")
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    *chunks, done = [line for line in answer.stdout.splitlines() if line.startswith("data: ")]
    assert done == "data: [DONE]"
    choices = [json.loads(chunk.removeprefix("data: "))["choices"] for chunk in chunks]
    text = [choice[0]["delta"].get("content") or "" for choice in choices if choice]
    assert len(text) > 1
    assert "".join(text).strip()


def test_the_printed_query_shows_the_calls(up: Running) -> None:
    subprocess.run(up.line("/v1/messages"), capture_output=True, check=True)

    def shown() -> str:
        query = up.line(up.ready["clickhouse_url"] + "/")
        text = subprocess.run(query, capture_output=True, text=True, check=True).stdout
        return text if local_model.NAME in text else ""

    assert "ok" in _until(shown, within=15)


def test_a_second_start_on_the_same_data_is_refused(up: Running, folder: Path) -> None:
    line = _refused("up", *FREE_PORTS, "--data", str(folder / "data"))
    assert "in use by another" in line
    assert str(up.process.pid) in line


@pytest.mark.parametrize("role", sorted(ROLES))
def test_a_role_that_dies_is_started_again(up: Running, role: str) -> None:
    calls = int(up.query("SELECT count() FROM calls"))
    os.kill(up.ready["pids"][role], signal.SIGKILL)
    _until(lambda: f"{role} is ready again" in up.said, within=20)
    answer = subprocess.run(up.line("/v1/messages"), capture_output=True, text=True, check=True)
    assert "message_stop" in answer.stdout
    _until(lambda: int(up.query("SELECT count() FROM calls")) > calls, within=20)


def test_ctrl_c_stops_everything_and_the_next_start_finds_its_data(tmp_path: Path) -> None:
    first = _start(tmp_path)
    subprocess.run(first.line("/v1/messages"), capture_output=True, check=True)
    count = "SELECT count() FROM calls"
    _until(lambda: first.query(count) != "0", within=15)
    rows = first.query(count)
    assert first.end(signal.SIGINT) == 0
    assert not (tmp_path / "ready.json").exists()

    second = _start(tmp_path)
    try:
        assert second.query(count) == rows
        assert second.ready["key"] == first.ready["key"]
    finally:
        second.end(signal.SIGKILL)  # and its children do not outlive it


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for option in ("--port", "--nats-port", "--clickhouse-port"):
            line = _refused("up", *FREE_PORTS, "--data", str(tmp_path / "data"), option, port)
            assert line == f"weir: port {port} is in use: choose another with {option}"
        role = _refused("run", "ingress", "--port", port)
        assert "in use" in role


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("NATS_URL", "http://127.0.0.1"),
        ("WEIR_PORT", "http"),
        ("WEIR_LOG_LEVEL", "loud"),
        ("LLM_PROVIDER", "nobody"),
        ("LLM_PROVIDER", "openai_compatible"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(
    tmp_path: Path, variable: str, value: str
) -> None:
    line = _refused("up", *FREE_PORTS, "--data", str(tmp_path / "data"), **{variable: value})
    assert line.startswith("weir: ")
    assert variable in line


def test_a_data_folder_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "data"):
        line = _refused("up", *FREE_PORTS, "--data", str(path))
        assert line == f"weir: the data folder {path} cannot be used: not a folder"


@pytest.mark.parametrize(
    "arguments", [["up", "--port", "http"], ["run", "nobody"], ["nothing"], []]
)
def test_a_wrong_argument_is_one_line(arguments: list[str]) -> None:
    assert _refused(*arguments).startswith("weir: ")


def test_a_role_without_a_bus_says_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    line = _refused("keys", "list", NATS_URL=f"nats://127.0.0.1:{port}")
    assert "NATS_URL" in line
