"""ClickHouse, as audit uses it: inserts with a token, and the few queries around them.

Blocking: its caller runs it on one thread. Knows nothing of JetStream.
"""

import logging
import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver import options
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DataError, OperationalError

from shared.bus.records import Admitted
from shared.config import ConfigError

from .batch import Batch
from .migrate import migrate
from .queries import LAST_SEQUENCE, OPEN_ADMISSIONS, ROLLUP_DIFFERENCE, SEQUENCES
from .rows import CALLS, Table

log = logging.getLogger("weir.audit")

# It asks with every insert whether it was given one of these libraries' tables, and loads those
# that are installed to find out: 70 MB and half a second. It is given lists.
for _library in ("np", "pd", "pd_time_test", "arrow", "pl"):
    setattr(options, _library, None)

CONNECT_SECONDS, ANSWER_SECONDS = 5, 120
HOUR_US = 3600 * 1_000_000

# ClickHouse's codes for rows that it can't take; every other failure may pass.
_ROW_CODES = frozenset(
    {6, 20, 26, 27, 33, 38, 41, 53, 69, 70, 72, 117, 131, 190, 321, 349, 407, 469}
)
_ROW_ERRORS = (DataError, ValueError, TypeError, OverflowError, AttributeError, struct.error)
_WRONG_CREDENTIALS = frozenset({192, 193, 194, 497, 516})

_INSERT_SETTINGS = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
}


class RowsRefusedError(Exception):
    """The rows can't be written, now or later. None of them was."""


class StoreUnavailableError(Exception):
    """It did not work this time; whether anything was written is not known."""


class Store:
    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Client | None = None

    def prepare(self) -> None:
        """Makes the database and its tables. Raises StoreUnavailableError, ConfigError."""
        try:
            _make_database(self._url)
            migrate(self._connected())
        except ClickHouseError as error:
            if getattr(error, "code", None) in _WRONG_CREDENTIALS:
                raise ConfigError("CLICKHOUSE_URL: ClickHouse refuses this user") from None
            raise self._lost(error) from None

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def insert(
        self, table: Table, records: Sequence[tuple[int, Any]], batch: Batch, token: str
    ) -> None:
        """All of the rows or none; nothing for a token that was there before. Raises
        RowsRefusedError, StoreUnavailableError."""
        try:
            self._connected().insert(
                table.name,
                table.to_columns(records, batch.epoch, batch.shard),
                column_names=table.names,
                column_type_names=table.types,
                column_oriented=True,
                settings={**_INSERT_SETTINGS, "insert_deduplication_token": token},
            )
        except OperationalError as error:
            raise self._lost(error) from None
        except _ROW_ERRORS as error:
            raise RowsRefusedError(f"{type(error).__name__}: {error}") from None
        except ClickHouseError as error:
            if getattr(error, "code", None) in _ROW_CODES:
                raise RowsRefusedError(str(error)) from None
            raise self._lost(error) from None

    def sequences(self, table: Table, batch: Batch) -> set[int]:
        """Which records of the batch the table has. Raises StoreUnavailableError."""
        records = batch.calls if table is CALLS else batch.admissions
        if not records:
            return set()
        started = [record.started for _, record in records]
        rows = self._query(
            SEQUENCES,
            table=table.name,
            tenants=sorted({record.tenant for _, record in records}),
            first=min(started),
            last=max(started),
            epoch=batch.epoch,
            shard=batch.shard,
            after=batch.after,
            end=batch.end,
        )
        return {row[0] for row in rows}

    def last_sequence(self, epoch: int, shard: int) -> int:
        """The last record that either table has of a shard; 0 if none. Raises
        StoreUnavailableError."""
        return int(self._query(LAST_SEQUENCE, epoch=epoch, shard=shard)[0][0])

    def repair_rollup(self, batch: Batch) -> None:
        """Adds to `cost_hourly` what it lacks, or has too much, in the batch's hours and tenants.
        Raises StoreUnavailableError."""
        hours = {record.started // HOUR_US * HOUR_US for _, record in batch.calls}
        if not hours:
            return
        parameters = {
            "tenants": sorted({record.tenant for _, record in batch.calls}),
            "hours": [datetime.fromtimestamp(hour / 1_000_000, UTC) for hour in sorted(hours)],
        }
        differing = self._query(f"SELECT count() FROM ({ROLLUP_DIFFERENCE})", **parameters)[0][0]  # noqa: S608 - our own text
        if differing:
            log.warning("the rollup of %d keys is put right", differing)
            self._command(f"INSERT INTO cost_hourly {ROLLUP_DIFFERENCE}", **parameters)

    def open_admissions(self, shard: int) -> list[Admitted]:
        """The admitted calls of a shard that have no row yet and may still have to be closed.
        Raises StoreUnavailableError."""
        return [
            Admitted(
                call_id=row[0],
                tenant=row[1],
                agent=row[2],
                key_id=row[3],
                model=row[4],
                protocol=row[5],
                streamed=bool(row[6]),
                started=row[7],
                lease_until=row[8],
                tags=dict(row[9]),
                instance=row[10],
            )
            for row in self._query(OPEN_ADMISSIONS, shard=shard)
        ]

    def _connected(self) -> Client:
        if self._client is None:
            self._client = _connect(self._url, _database(self._url))
        return self._client

    def _query(self, sql: str, **parameters: Any) -> Sequence[Sequence[Any]]:
        try:
            return self._connected().query(sql, parameters=parameters).result_rows
        except ClickHouseError as error:
            raise self._lost(error) from None

    def _command(self, sql: str, **parameters: Any) -> None:
        try:
            self._connected().command(sql, parameters=parameters)
        except ClickHouseError as error:
            raise self._lost(error) from None

    def _lost(self, error: Exception) -> StoreUnavailableError:
        """The next use connects anew: the server may be another by then."""
        self.close()
        return StoreUnavailableError(str(error).partition("\n")[0][:500])


def _make_database(url: str) -> None:
    name = _database(url)
    if name != "default":
        client = _connect(url, None)
        try:
            quoted = name.replace("`", "\\`")
            client.command(f"CREATE DATABASE IF NOT EXISTS `{quoted}`")
        finally:
            client.close()


def _database(url: str) -> str:
    return unquote(urlsplit(url).path.strip("/")) or "default"


def _connect(url: str, database: str | None) -> Client:
    where = urlsplit(url)
    secure = where.scheme == "https"
    return clickhouse_connect.get_client(
        host=where.hostname or "localhost",
        port=where.port or (8443 if secure else 8123),
        secure=secure,
        username=unquote(where.username) if where.username else None,
        password=unquote(where.password or ""),
        database=database or "default",
        autogenerate_session_id=False,
        show_clickhouse_errors="scrub",  # without the URL, which has our parameters
        connect_timeout=CONNECT_SECONDS,
        send_receive_timeout=ANSWER_SECONDS,
    )
