"""Which processes have left the bus.

Every process hears its own control subject; the NATS server itself says when nobody does. One such
answer may be a connection that is just being restored, so only several over some time count.

Called by `orphans`. It knows nothing of calls.
"""

from collections.abc import Iterable
from time import monotonic
from typing import TYPE_CHECKING

from msgspec import Struct
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from shared.bus import topology

if TYPE_CHECKING:
    from nats.aio.client import Client

LOOKS = 3
ABSENT_SECONDS = 10.0
ANSWER_SECONDS = 1.0


class _Absence(Struct):
    since: float
    looks: int = 0


class Presence:
    def __init__(self, nc: "Client") -> None:
        self._nc = nc
        self._absent: dict[str, _Absence] = {}

    async def gone(self, instances: Iterable[str]) -> set[str]:
        """Those of `instances` that were missed often enough. To be asked again and again."""
        asked = set(instances)
        for instance in asked:
            if await self._is_missed(instance):
                self._absent.setdefault(instance, _Absence(monotonic())).looks += 1
            else:
                self._absent.pop(instance, None)
        self._absent = {name: seen for name, seen in self._absent.items() if name in asked}
        return {
            name
            for name, seen in self._absent.items()
            if seen.looks >= LOOKS and monotonic() - seen.since >= ABSENT_SECONDS
        }

    async def _is_missed(self, instance: str) -> bool:
        """Only what the server says counts: a slow answer, or no server, proves nothing."""
        subject = topology.presence_subject(instance)
        try:
            await self._nc.request(subject, b"", timeout=ANSWER_SECONDS)
        except NoRespondersError:
            return True
        except (NatsError, TimeoutError):
            pass
        return False
