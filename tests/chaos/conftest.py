"""Fleets that tests share, and the table that is printed when all is over."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.chaos.fleet import Fleet, running

TABLE = "chaos"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two of each role."""
    with running(tmp_path_factory.mktemp("pair"), each=2) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One of each role: what dies is missed until it is started again."""
    with running(tmp_path_factory.mktemp("single")) as fleet:
        yield fleet


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What tests have said by `record_property(TABLE, line)`."""
    lines = [
        str(value)
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, ())
        for name, value in getattr(report, "user_properties", ())
        if name == TABLE
    ]
    if lines:
        terminalreporter.section("chaos")
        for line in lines:
            terminalreporter.write_line(line)
