-- One row a call. Counts of tokens are NULL where the vendor did not report them: NULL is not 0.
-- The input classes are disjoint; reasoning is a part of output, audio a part of its direction.
-- `cost` is NULL where usage or price are not known; then `priced` is false.
-- (audit_epoch, audit_shard, audit_seq) is the record's place in the audit stream.
-- Inserts are on disk when they are acknowledged: the audit stream is told so only then.

CREATE TABLE IF NOT EXISTS calls
(
    call_id UUID COMMENT 'UUIDv7; ClickHouse does not sort UUIDs by time: sort by started',
    tenant LowCardinality(String),
    agent LowCardinality(String),
    key_id LowCardinality(String),
    model LowCardinality(String) COMMENT 'as the client asked for it',
    provider LowCardinality(String) COMMENT 'the configured account that was called',
    vendor LowCardinality(String),
    vendor_model LowCardinality(String) COMMENT 'what was called',
    protocol LowCardinality(String) COMMENT 'the client''s',
    streamed Bool,
    outcome LowCardinality(String) COMMENT 'ok, failed, rejected, client_gone, abandoned',
    status UInt16 COMMENT 'HTTP status that the client got, or would have got',
    error_class LowCardinality(String),
    error_message String CODEC(ZSTD(1)),
    finish_reason LowCardinality(String),
    input_tokens Nullable(UInt64) COMMENT 'fresh ones: neither read from nor written to a cache',
    cache_read_tokens Nullable(UInt64),
    cache_write_5m_tokens Nullable(UInt64),
    cache_write_1h_tokens Nullable(UInt64),
    output_tokens Nullable(UInt64),
    reasoning_tokens Nullable(UInt64) COMMENT 'in output_tokens',
    audio_input_tokens Nullable(UInt64) COMMENT 'in input_tokens',
    audio_output_tokens Nullable(UInt64) COMMENT 'in output_tokens',
    tool_fees Map(String, UInt64) COMMENT 'billed uses of tools, by name',
    service_tier LowCardinality(String),
    usage_estimated Bool,
    cost Nullable(Decimal(18, 9)),
    currency LowCardinality(String),
    priced Bool,
    price_version LowCardinality(String),
    config_version LowCardinality(String),
    started DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    first_token Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)),
    ended DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    ttft_ms Nullable(Float64) ALIAS dateDiff('microsecond', started, first_token) / 1000,
    duration_ms Float64 ALIAS dateDiff('microsecond', started, ended) / 1000,
    attempts UInt16,
    tags Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    vendor_request_id String CODEC(ZSTD(1)),
    instance LowCardinality(String) COMMENT 'the pipeline that ran it, or the audit that closed it',
    audit_epoch UInt64 COMMENT 'when the audit stream was made, in microseconds',
    audit_shard UInt8,
    audit_seq UInt64 CODEC(Delta, ZSTD(1)),
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD(1)),
    INDEX by_call_id call_id TYPE bloom_filter GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(started)
ORDER BY (tenant, started, call_id)
SETTINGS
    non_replicated_deduplication_window = 1000,
    fsync_after_insert = 1,
    fsync_part_directory = 1;
