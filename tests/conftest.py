"""What every test may use. Fixtures for one kind of test stand beside those tests."""

import asyncio
import functools
import inspect
from typing import Any

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """`async def test_...` runs on the loop that the roles run on."""
    return "asyncio", {"use_uvloop": True}


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Cancel an async test that hangs, shortly before pytest-timeout would.

    Its alarm goes off anywhere in the loop, which does not survive that, and neither do the
    tests after it that share the loop: they hang, or fail for no reason of theirs.
    """
    test = pyfuncitem.obj
    if inspect.iscoroutinefunction(test):
        marker = pyfuncitem.get_closest_marker("timeout")
        seconds = 0.9 * float(marker.args[0] if marker else pyfuncitem.config.getini("timeout"))

        @functools.wraps(test)
        async def bounded(*arguments: Any, **fixtures: Any) -> None:
            async with asyncio.timeout(seconds):
                await test(*arguments, **fixtures)

        pyfuncitem.obj = bounded
