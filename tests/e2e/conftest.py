"""One gateway in front of one simulator for all tests of this folder that need no other."""

from collections.abc import Iterator

import pytest

from tests.stack import Stack, gateway, simulated_vendor, vendors_at


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    with (
        simulated_vendor(folder, record=2000) as vendor,
        gateway(folder, vendors_at(vendor), vendor=vendor) as running,
    ):
        yield running
