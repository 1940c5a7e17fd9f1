-- Sums of `calls` by hour. Rows of the same key are added up in the background, at no known time:
-- always read it with sum() and GROUP BY. A count that no vendor reported adds nothing here.

CREATE TABLE IF NOT EXISTS cost_hourly
(
    hour DateTime('UTC') COMMENT 'in which the call started',
    tenant LowCardinality(String),
    agent LowCardinality(String),
    key_id LowCardinality(String),
    workflow LowCardinality(String) COMMENT 'the tag of that name',
    provider LowCardinality(String),
    vendor LowCardinality(String),
    model LowCardinality(String),
    vendor_model LowCardinality(String),
    outcome LowCardinality(String),
    currency LowCardinality(String),
    calls Int64,
    failed_calls Int64 COMMENT 'that did not end as ok',
    unpriced_calls Int64 COMMENT 'whose cost is not known: no usage, or no price',
    input_tokens Int64,
    cache_read_tokens Int64,
    cache_write_5m_tokens Int64,
    cache_write_1h_tokens Int64,
    output_tokens Int64,
    reasoning_tokens Int64,
    tool_uses Int64,
    cost Decimal(38, 9)
)
ENGINE = SummingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY
(
    tenant, hour, agent, key_id, workflow, provider, vendor, model, vendor_model, outcome, currency
)
SETTINGS
    non_replicated_deduplication_window = 1000,
    fsync_after_insert = 1,
    fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS cost_hourly_mv TO cost_hourly AS
SELECT
    toStartOfHour(toDateTime(started, 'UTC')) AS hour,
    tenant,
    agent,
    key_id,
    tags['workflow'] AS workflow,
    provider,
    vendor,
    model,
    vendor_model,
    outcome,
    currency,
    toInt64(count()) AS calls,
    toInt64(countIf(outcome != 'ok')) AS failed_calls,
    toInt64(countIf(NOT priced)) AS unpriced_calls,
    toInt64(sum(ifNull(calls.input_tokens, 0))) AS input_tokens,
    toInt64(sum(ifNull(calls.cache_read_tokens, 0))) AS cache_read_tokens,
    toInt64(sum(ifNull(calls.cache_write_5m_tokens, 0))) AS cache_write_5m_tokens,
    toInt64(sum(ifNull(calls.cache_write_1h_tokens, 0))) AS cache_write_1h_tokens,
    toInt64(sum(ifNull(calls.output_tokens, 0))) AS output_tokens,
    toInt64(sum(ifNull(calls.reasoning_tokens, 0))) AS reasoning_tokens,
    toInt64(sum(arraySum(mapValues(tool_fees)))) AS tool_uses,
    sum(ifNull(calls.cost, toDecimal64(0, 9))) AS cost
FROM calls
GROUP BY
    hour, tenant, agent, key_id, workflow, provider, vendor, model, vendor_model, outcome, currency;
