"""What every test may use. Fixtures for one kind of test stand beside those tests."""

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """`async def test_...` runs on the loop that the roles run on."""
    return "asyncio", {"use_uvloop": True}
