"""Three NATS servers that stand for each other, on loopback."""

import json
import signal
import subprocess
import urllib.request
from pathlib import Path

from services.standalone import nats_server
from services.standalone.lifeline import ends_with_parent
from tests.servers import MIB, free_port, wait_for_port
from tests.stack import eventually

NODES = 3


class Cluster:
    """Stands where one server would: `kill` takes one of the three away, `start` brings it back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.max_payload: int | None = None
        self._ports = [free_port() for _ in range(NODES)]
        self._routes = [free_port() for _ in range(NODES)]
        self._monitoring = [free_port() for _ in range(NODES)]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._next = 0
        self.url = ",".join(f"nats://127.0.0.1:{port}" for port in self._ports)

    @property
    def pid(self) -> int:
        return next(iter(self._processes.values())).pid

    @property
    def monitoring_url(self) -> str:
        number = next(iter(self._processes))
        return f"http://127.0.0.1:{self._monitoring[number]}"

    def start(self) -> None:
        """Every node that does not run; returns when each knows all streams' leaders."""
        for number in range(NODES):
            if number not in self._processes:
                self._processes[number] = self._launch(number)
        for port in self._ports:
            wait_for_port(f"nats://127.0.0.1:{port}")
        eventually(self._healthy, 30)

    def kill(self) -> None:
        """Another node each time."""
        process = self._processes.pop(self._next)
        self._next = (self._next + 1) % NODES
        process.kill()
        process.wait()

    def stop(self) -> None:
        for process in self._processes.values():
            process.send_signal(signal.SIGKILL)
            process.wait()
        self._processes.clear()

    def _healthy(self) -> bool:
        for port in self._monitoring:
            try:
                with urllib.request.urlopen(
                    f"http://127.0.0.1:{port}/healthz", timeout=2
                ) as answer:
                    if answer.status != 200:
                        return False
            except OSError:
                return False
        return True

    def _launch(self, number: int) -> subprocess.Popen[bytes]:
        folder = self.folder / f"node-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        config = nats_server.write_config(folder, port=self._ports[number], max_body_bytes=32 * MIB)
        told = json.loads(config.read_bytes()) | {
            "server_name": f"node-{number}",
            "http": f"127.0.0.1:{self._monitoring[number]}",
            "cluster": {
                "name": "weir",
                "listen": f"127.0.0.1:{self._routes[number]}",
                "routes": [f"nats://127.0.0.1:{port}" for port in self._routes],
            },
        }
        if self.max_payload is not None:
            told["max_payload"] = self.max_payload
        config.write_text(json.dumps(told))
        with (folder / "nats.log").open("ab") as output:
            return subprocess.Popen(
                [nats_server.find_binary(), "--config", str(config)],
                preexec_fn=ends_with_parent(),  # noqa: PLW1509 - one libc call
                stdout=output,
                stderr=output,
            )
