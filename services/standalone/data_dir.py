"""The data folder of `weir up`: made private, claimed by one supervisor at a time.

Called once, before anything is started. What the children keep inside is theirs.
"""

import fcntl
import os
from pathlib import Path

from shared.config import ConfigError


class DataDir:
    """A claimed folder. The claim is a lock on a file, so it ends with the process, however."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.logs = self.path / "logs"
        self.nats = self.path / "nats"
        self.clickhouse = self.path / "clickhouse"
        try:
            for folder in (self.path, self.logs, self.nats, self.clickhouse):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
                    raise ConfigError(f"the data folder {folder} is not readable and writable")
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except (FileExistsError, NotADirectoryError):
            raise ConfigError(f"the data folder {path} cannot be used: not a folder") from None
        except OSError as error:
            raise ConfigError(f"the data folder {path} cannot be used: {error.strerror}") from None
        self._claim()

    def _claim(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._lock, 20, 0).decode().strip() or "unknown"
            raise ConfigError(
                f"the data folder {self.path} is in use by another `weir up` (process {holder})"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
