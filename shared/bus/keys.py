"""Virtual keys: how they look, how they are kept, who they are.

A key is `weir_<id>_<secret>_<checksum>`: the id finds its record in the bucket `weir_keys`,
the secret has 256 bits, the checksum (CRC-32) tells a typing error from a wrong key without
asking anybody. At rest there is the secret's SHA-256 alone: 256 random bits need no slow hash.
Ingress keeps a mirror of the bucket; the CLI and the control plane write to it.
"""

import hmac
import os
import re
import secrets
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

import msgspec
import nats
from msgspec import Struct
from msgspec.structs import replace
from nats.js.errors import BucketNotFoundError, KeyNotFoundError, NoKeysError

from . import topology
from .envelope import Principal

if TYPE_CHECKING:
    from nats.js.kv import KeyValue

PREFIX = "weir"
FIRST_KEY_FILE = "first-key"

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_FORM = re.compile(r"weir_([0-9A-Za-z]{10})_([0-9A-Za-z]{43})_([0-9A-Za-z]{6})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


class KeyRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is kept of a key. Times are seconds since the epoch."""

    id: str
    secret_sha256: str
    tenant: str
    agent: str
    created: int
    expires: int | None = None
    revoked: int | None = None

    @property
    def principal(self) -> Principal:
        return Principal(self.tenant, self.agent, self.id)

    def usable(self, now: float) -> bool:
        return self.revoked is None and (self.expires is None or now < self.expires)

    def matches(self, secret: str) -> bool:
        return hmac.compare_digest(self.secret_sha256, digest(secret))


encode_record = msgspec.json.Encoder().encode
decode_record = msgspec.json.Decoder(KeyRecord).decode


def digest(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


def parse(key: str) -> tuple[str, str] | None:
    """A key's id and secret; None if it cannot be one of ours."""
    form = _FORM.fullmatch(key)
    if form is None or form[3] != _checksum(form[1], form[2]):
        return None
    return form[1], form[2]


def mint(tenant: str, agent: str, expires: int | None = None) -> tuple[str, KeyRecord]:
    """A new key, to be shown once, and its record. Raises ValueError for a bad name."""
    for what, name in (("tenant", tenant), ("agent", agent)):
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"{what} must be 1 to 63 letters, digits, '-' or '_'")
    key_id, secret = _random(10), _random(43)
    record = KeyRecord(
        id=key_id,
        secret_sha256=digest(secret),
        tenant=tenant,
        agent=agent,
        created=int(datetime.now(UTC).timestamp()),
        expires=expires,
    )
    return f"{PREFIX}_{key_id}_{secret}_{_checksum(key_id, secret)}", record


class KeyStore:
    """The bucket, for who manages keys."""

    def __init__(self, bucket: "KeyValue") -> None:
        self._bucket = bucket

    async def create(self, tenant: str, agent: str, expires: int | None = None) -> str:
        """Stores a new key and returns it: the only time that it can be seen."""
        key, record = mint(tenant, agent, expires)
        await self._bucket.create(record.id, encode_record(record))
        return key

    async def all(self) -> list[KeyRecord]:
        try:
            ids = await self._bucket.keys()
        except NoKeysError:
            return []
        records: list[KeyRecord] = []
        for key_id in ids:
            entry = await self._bucket.get(key_id)
            if entry.value:
                records.append(decode_record(entry.value))
        return sorted(records, key=lambda record: (record.created, record.id))

    async def revoke(self, key_id: str) -> KeyRecord:
        """Raises KeyNotFoundError. A revoked key stays on record."""
        entry = await self._bucket.get(key_id)
        if not entry.value:
            raise KeyNotFoundError
        record = decode_record(entry.value)
        if record.revoked is None:
            record = replace(record, revoked=int(datetime.now(UTC).timestamp()))
            await self._bucket.update(key_id, encode_record(record), last=entry.revision)
        return record


class open_store:  # noqa: N801 - read as a verb: `async with open_store(url) as store`
    """A key store on a connection of its own, for a short errand."""

    def __init__(self, nats_url: str) -> None:
        self._servers = nats_url.split(",")

    async def __aenter__(self) -> KeyStore:
        self._nc = await nats.connect(
            self._servers, name="weir-keys", max_reconnect_attempts=3, reconnect_time_wait=0.2
        )
        js = self._nc.jetstream()
        try:
            bucket = await js.key_value(topology.KEYS_BUCKET)
        except BucketNotFoundError:  # before any role has run
            bucket = await js.create_key_value(topology.keys_bucket())
        return KeyStore(bucket)

    async def __aexit__(self, *_: object) -> None:
        await self._nc.close()


async def ensure_first_key(nats_url: str, data_dir: Path) -> str:
    """The key that a laptop starts with: made once, kept readable for its owner alone.

    A key that is no longer usable in the bucket (revoked, or another NATS store) is replaced.
    """
    path = data_dir / FIRST_KEY_FILE
    async with open_store(nats_url) as store:
        kept = path.read_text().strip() if path.exists() else ""
        parsed = parse(kept)
        if parsed is not None:
            now = datetime.now(UTC).timestamp()
            for record in await store.all():
                if record.id == parsed[0] and record.matches(parsed[1]) and record.usable(now):
                    return kept
        key = await store.create("default", "default")
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(key + "\n")
    return key


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _checksum(key_id: str, secret: str) -> str:
    number = crc32(f"{key_id}_{secret}".encode())
    digits = ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = _ALPHABET[digit] + digits
    return digits
