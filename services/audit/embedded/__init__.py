"""A ClickHouse for one machine: the chDB engine behind ClickHouse's own HTTP interface.

Started by `weir clickhouse`, which `weir up` starts. Everything else talks to it as it would to
any ClickHouse server, through clickhouse-connect.
"""

from .server import serve

__all__ = ["serve"]
