"""audit: the audit stream into ClickHouse, exactly once; and the embedded ClickHouse."""
