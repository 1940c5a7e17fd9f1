"""What an account sends and shows: credentials win, and stay."""

import httpx
import pytest

from services.providers.account import Account, open_accounts
from services.providers.vendors import load
from shared.config import ConfigError, Settings

SETTINGS = Settings.from_env({"ANTHROPIC_API_KEY": "sk-ant-canary", "OPENAI_API_KEY": "sk-canary"})


@pytest.fixture
async def accounts() -> dict[str, Account]:
    return open_accounts(SETTINGS, load(), frozenset())


async def test_ours_win_over_the_callers(accounts: dict[str, Account]) -> None:
    caller = {"anthropic-version": "2024-01-01", "anthropic-beta": "b", "x-api-key": "theirs"}
    sent = accounts["anthropic"].headers(caller, same_protocol=True, streamed=True)
    assert sent["x-api-key"] == "sk-ant-canary"
    assert sent["anthropic-version"] == "2024-01-01"
    assert sent["anthropic-beta"] == "b"


async def test_towards_another_protocol_no_header_of_the_callers_goes_on(
    accounts: dict[str, Account],
) -> None:
    caller = {"anthropic-beta": "b", "user-agent": "theirs", "openai-beta": "b"}
    sent = accounts["openai"].headers(caller, same_protocol=False, streamed=False)
    assert not {"anthropic-beta", "openai-beta"} & sent.keys()
    assert sent["user-agent"] == "weir"


@pytest.mark.parametrize("header", ["openai-organization", "openai-project"])
async def test_a_caller_neither_chooses_nor_sees_the_operators_project(
    accounts: dict[str, Account], header: str
) -> None:
    sent = accounts["openai"].headers({header: "x"}, same_protocol=True, streamed=False)
    assert header not in sent
    assert header not in accounts["openai"].visible_headers(httpx.Headers({header: "ours"}))


async def test_a_credential_that_a_vendor_quotes_is_taken_out(
    accounts: dict[str, Account],
) -> None:
    assert "canary" not in accounts["openai"].scrub("key sk-canary is over quota")
    assert b"canary" not in accounts["openai"].scrub_bytes(b"key sk-canary is over quota")


def test_an_unknown_vendor_is_named() -> None:
    with pytest.raises(ConfigError, match="nobody"):
        open_accounts(SETTINGS, load(), frozenset({"nobody"}))
