"""Files that others read: written whole or not at all, and for their owner alone."""

import os
import tempfile
from pathlib import Path

from shared.config import ConfigError


def write_private(path: Path, content: bytes) -> None:
    """Raise ConfigError if the folder is not there or may not be written."""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}")  # mode 0600
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None


def forget(path: Path) -> None:
    """Remove a file of an earlier run. Raise ConfigError where none could be written either."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None
    if not path.parent.is_dir():
        raise ConfigError(f"cannot write {path}: its folder is not there")
