"""Fleets that tests share, and the table that is printed when all is over."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.fleet import Fleet, running

FOLDER = Path(__file__).parent
TABLE = "chaos"
SLOTS = 256
CLUSTER = {"WEIR_REPLICAS": "3"} if os.environ.get("WEIR_CHAOS_CLUSTER") else {}
"""With that set the tests run against three NATS servers, of which one at a time is killed."""


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two of each role."""
    with running(tmp_path_factory.mktemp("pair"), each=2, env=CLUSTER) as fleet:
        yield fleet


@pytest.fixture(scope="session")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One of each role: what dies is missed until it is started again."""
    with running(
        tmp_path_factory.mktemp("single"), env={"WEIR_SLOTS": str(SLOTS), **CLUSTER}
    ) as fleet:
        yield fleet


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """They measure times and memory, so they have the machine to themselves: `make chaos`. Who
    shares a fleet runs in one worker, where there are several."""
    for item in items:
        if FOLDER in item.path.parents:
            item.add_marker(pytest.mark.chaos)
        for fleet in ("pair", "single", "impatient"):
            if fleet in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.xdist_group(fleet))


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
