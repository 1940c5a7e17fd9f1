"""Brings a ClickHouse database to the schema that this version needs, before anything else runs.

The steps are the numbered files in `migrations/`, run in order, each once; what ran is noted in
`weir_migrations`. Every statement says IF NOT EXISTS or the like, so a step that was cut short,
or that two processes run at once, is simply run again: ClickHouse has no lock to take.
"""

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from shared.config import ConfigError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

log = logging.getLogger("weir.audit")

FOLDER = Path(__file__).parent / "migrations"

TABLE = """
CREATE TABLE IF NOT EXISTS weir_migrations
(
    version UInt32,
    name String,
    checksum String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = MergeTree
ORDER BY version
"""


class Migration(Struct, frozen=True):
    version: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def statements(self) -> list[str]:
        """A statement ends with a semicolon at the end of its line."""
        return [part for part in (part.strip() for part in self.text.split(";\n")) if part]


def read_migrations(folder: Path = FOLDER) -> list[Migration]:
    """In order of their numbers, which must be 1, 2, 3..."""
    found = [
        Migration(int(path.stem.partition("_")[0]), path.stem.partition("_")[2], path.read_text())
        for path in sorted(folder.glob("*.sql"))
    ]
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise ConfigError(f"the migrations in {folder.name} are not numbered 001, 002, 003...")
    return found


def migrate(client: "Client", migrations: list[Migration] | None = None) -> list[int]:
    """Returns the versions that it applied. Raises ConfigError where the database has another
    history than this version of Weir."""
    client.command(TABLE)
    rows = client.query("SELECT version, checksum FROM weir_migrations").result_rows
    applied: dict[int, str] = {int(row[0]): str(row[1]) for row in rows}
    new: list[int] = []
    for migration in read_migrations() if migrations is None else migrations:
        known = applied.pop(migration.version, None)
        if known is None:
            _apply(client, migration)
            new.append(migration.version)
        elif known != migration.checksum:
            raise ConfigError(
                f"migration {migration.version} ({migration.name}) has changed since this "
                "database ran it: put the file back as it was, and add a new one"
            )
    if applied:
        log.warning("the database has newer migrations than this version: %s", sorted(applied))
    return new


def _apply(client: "Client", migration: Migration) -> None:
    for statement in migration.statements:
        client.command(statement)
    row = [migration.version, migration.name, migration.checksum]
    client.insert("weir_migrations", [row], ["version", "name", "checksum"])
    log.info("migration %d (%s) is done", migration.version, migration.name)
