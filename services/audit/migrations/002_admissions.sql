-- Calls that were let in. One whose lease is over and that has no row in `calls` was abandoned.

CREATE TABLE IF NOT EXISTS admissions
(
    call_id UUID,
    tenant LowCardinality(String),
    agent LowCardinality(String),
    key_id LowCardinality(String),
    model LowCardinality(String),
    protocol LowCardinality(String),
    streamed Bool,
    started DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    lease_until DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    tags Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    instance LowCardinality(String),
    audit_epoch UInt64,
    audit_shard UInt8,
    audit_seq UInt64 CODEC(Delta, ZSTD(1)),
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toDate(lease_until)
ORDER BY (audit_shard, lease_until, call_id)
TTL toDateTime(lease_until) + INTERVAL 8 DAY
SETTINGS
    non_replicated_deduplication_window = 1000,
    fsync_after_insert = 1,
    fsync_part_directory = 1,
    ttl_only_drop_parts = 1;
