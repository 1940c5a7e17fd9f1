"""The longer queries that audit asks of ClickHouse, as text. Values are always parameters."""

KEYS = (
    "hour, tenant, agent, key_id, workflow, provider, vendor, model, vendor_model, outcome, "
    "currency"
)
TOKENS = (
    "input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
)
SUMS = ("calls", "failed_calls", "unpriced_calls", *TOKENS, "tool_uses", "cost")

# What `cost_hourly_mv` makes of the rows of `calls`, less what the rollup has: by key, where they
# differ. A tenant has one writer, so nothing is on its way while its writer asks this.
ROLLUP_DIFFERENCE = f"""
SELECT {KEYS}, {", ".join(f"sum(d.{name}) AS {name}" for name in SUMS)}
FROM (
    SELECT
        toStartOfHour(toDateTime(c.started, 'UTC')) AS hour,
        c.tenant AS tenant, c.agent AS agent, c.key_id AS key_id,
        c.tags['workflow'] AS workflow, c.provider AS provider, c.vendor AS vendor,
        c.model AS model, c.vendor_model AS vendor_model, c.outcome AS outcome,
        c.currency AS currency,
        toInt64(count()) AS calls,
        toInt64(countIf(c.outcome != 'ok')) AS failed_calls,
        toInt64(countIf(NOT c.priced)) AS unpriced_calls,
        {", ".join(f"toInt64(sum(ifNull(c.{name}, 0))) AS {name}" for name in TOKENS)},
        toInt64(sum(arraySum(mapValues(c.tool_fees)))) AS tool_uses,
        sum(ifNull(c.cost, toDecimal64(0, 9))) AS cost
    FROM calls AS c
    WHERE c.tenant IN {{tenants:Array(String)}}
        AND c.started >= arrayMin({{hours:Array(DateTime('UTC'))}})
        AND c.started < arrayMax({{hours:Array(DateTime('UTC'))}}) + INTERVAL 1 HOUR
        AND has({{hours:Array(DateTime('UTC'))}}, toStartOfHour(toDateTime(c.started, 'UTC')))
    GROUP BY {KEYS}
    UNION ALL
    SELECT {KEYS}, {", ".join(f"-{name}" for name in SUMS)}
    FROM cost_hourly
    WHERE tenant IN {{tenants:Array(String)}} AND has({{hours:Array(DateTime('UTC'))}}, hour)
) AS d
GROUP BY {KEYS}
HAVING {" OR ".join(f"{name} != 0" for name in SUMS)}
"""  # noqa: S608 - names of our own

# The admitted calls of a shard that have no row, and that nobody can have closed: at the time of
# the last insert their lease had not ended, or not long before.
OPEN_ADMISSIONS = """
WITH (
    SELECT max(inserted_at) - INTERVAL 10 MINUTE
    FROM admissions
    WHERE audit_shard = {shard:UInt8}
) AS since
SELECT
    toString(call_id), tenant, agent, key_id, model, protocol, streamed,
    toUnixTimestamp64Micro(started), toUnixTimestamp64Micro(lease_until), tags, instance
FROM admissions
WHERE audit_shard = {shard:UInt8} AND lease_until >= since
    AND call_id NOT IN (
        SELECT call_id
        FROM calls
        WHERE audit_shard = {shard:UInt8} AND started >= (
            SELECT min(started)
            FROM admissions
            WHERE audit_shard = {shard:UInt8} AND lease_until >= since
        )
    )
LIMIT 1 BY call_id
"""

SEQUENCES = """
SELECT audit_seq
FROM {table:Identifier}
WHERE tenant IN {tenants:Array(String)}
    AND started >= fromUnixTimestamp64Micro({first:Int64})
    AND started <= fromUnixTimestamp64Micro({last:Int64})
    AND audit_epoch = {epoch:UInt64} AND audit_shard = {shard:UInt8}
    AND audit_seq > {after:UInt64} AND audit_seq <= {end:UInt64}
"""

# Records stay in the audit stream for a week, so what is older can't come again.
LAST_SEQUENCE = """
SELECT greatest(
    (
        SELECT max(audit_seq)
        FROM calls
        WHERE audit_epoch = {epoch:UInt64} AND audit_shard = {shard:UInt8}
            AND started >= now() - INTERVAL 30 DAY
    ),
    (
        SELECT max(audit_seq)
        FROM admissions
        WHERE audit_epoch = {epoch:UInt64} AND audit_shard = {shard:UInt8}
    )
)
"""
