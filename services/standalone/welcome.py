"""What `weir up` says once everything is ready: the address, the key, and lines to paste.

Pure text. Each command is one line, so that it can be copied from a terminal whole.
"""

import json
import shlex

from msgspec import Struct

_QUESTION = "Why is a weir called a weir? Two sentences."
_FIRST_QUERY = (
    "SELECT started, model, vendor, outcome, input_tokens, output_tokens, cost "
    "FROM calls ORDER BY started DESC LIMIT 10 FORMAT PrettyCompactMonoBlock"
)


class Summary(Struct, frozen=True):
    """What the ready file holds, too, but for the model."""

    url: str
    key: str
    model: str
    nats_url: str
    clickhouse_url: str
    data_dir: str


def _curl(url: str, header: str, body: dict[str, object]) -> str:
    return (
        f"curl -N {url} -H {shlex.quote(header)} "
        f"-H 'content-type: application/json' -d {shlex.quote(json.dumps(body))}"
    )


def first_calls(summary: Summary) -> tuple[str, str]:
    """Return a streamed call in either protocol."""
    body: dict[str, object] = {
        "model": summary.model,
        "max_tokens": 100,
        "stream": True,
        "messages": [{"role": "user", "content": _QUESTION}],
    }
    return (
        _curl(f"{summary.url}/v1/messages", f"x-api-key: {summary.key}", body),
        _curl(f"{summary.url}/v1/chat/completions", f"Authorization: Bearer {summary.key}", body),
    )


def first_query(summary: Summary) -> str:
    return f"curl -s {summary.clickhouse_url}/ --data-binary {shlex.quote(_FIRST_QUERY)}"


def welcome(summary: Summary) -> str:
    anthropic, openai = first_calls(summary)
    return f"""
Weir is up.

  URL         {summary.url}
  key         {summary.key}
  model       {summary.model}
  ClickHouse  {summary.clickhouse_url}
  NATS        {summary.nats_url}
  data        {summary.data_dir}

Ask it something, in Anthropic's protocol or in OpenAI's:

{anthropic}

{openai}

Then see the calls, one row each:

{first_query(summary)}

Ctrl-C stops everything; the next start finds its data again.
"""
