"""Servers that the tests of this folder share. A test that kills one starts its own."""

from collections.abc import Iterator

import pytest

from tests.servers import ClickHouse, Nats


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """An embedded ClickHouse; make tables of your own names in it."""
    server = ClickHouse(tmp_path_factory.mktemp("clickhouse"))
    server.start()
    yield server
    assert server.stop() == 0, server.log


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    """A NATS server with JetStream."""
    server = Nats(tmp_path_factory.mktemp("nats"))
    server.start()
    yield server
    server.stop()
