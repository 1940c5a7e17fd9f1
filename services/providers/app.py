"""The provider role: takes attempts off the bus and calls vendors, the only one that does.

Subscribes to `weir.v1.attempt.<vendor>` for the vendors that it serves, in one queue group,
so that each vendor's workers scale apart from the others'.
"""

from collections.abc import Awaitable, Callable

from services.providers.account import Account, open_accounts
from services.providers.attempt import Attempt
from services.providers.vendors import load
from shared.bus import claims, topology
from shared.bus.envelope import End, decode_attempt, encode
from shared.bus.replies import ReplySender
from shared.bus.worker import Worker
from shared.canonical.events import Failed
from shared.canonical.failures import FailureClass
from shared.config import Settings, Timeouts
from shared.lifecycle import Stop, settle

Collect = Callable[[str], Awaitable[bytes]]


class Provider:
    """Runs attempts against the accounts that this process has."""

    def __init__(self, accounts: dict[str, Account], timeouts: Timeouts, collect: Collect) -> None:
        self._accounts = accounts
        self._timeouts = timeouts
        self._collect = collect

    async def attempt(self, body: bytes, sender: ReplySender) -> None:
        envelope = decode_attempt(body)
        account = self._accounts.get(envelope.provider)
        if account is None:
            await sender.end(encode(_unknown_provider(envelope.provider)))
            return
        await Attempt(envelope, account, sender, self._timeouts, self._collect).run()


def _unknown_provider(name: str) -> End:
    message = f"provider {name} is not configured at its worker"
    return End(outcome=Failed(failure=FailureClass.UNAVAILABLE, message=message))


async def serve(
    settings: Settings,
    ready: Callable[[dict[str, str]], None],
    vendors: frozenset[str] = frozenset(),
) -> None:
    """Serves attempts of the given vendors (none named: of every configured provider) until
    SIGTERM. Raises ConfigError."""
    accounts = open_accounts(settings, load(), vendors)
    worker = Worker("provider", settings)

    async def collect(claim: str) -> bytes:
        return await claims.collect(worker.bus.nc.jetstream(), claim)

    provider = Provider(accounts, settings.timeouts, collect)
    for vendor in vendors or {account.vendor.name for account in accounts.values()}:
        worker.subscribe(
            topology.attempt_subject(vendor),
            topology.ATTEMPTS_QUEUE,
            provider.attempt,
            f"Attempts at {vendor}",
        )
    await worker.connect()
    stop = Stop()
    await worker.start()
    settle()
    ready({"vendors": ",".join(sorted({a.vendor.name for a in accounts.values()}))})
    await stop.requested.wait()
    await worker.drain(stop.cut)
    await worker.close()
    for account in accounts.values():
        await account.close()
