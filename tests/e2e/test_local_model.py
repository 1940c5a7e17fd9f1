"""The vendors' own SDKs against a real model: llama.cpp, as a newcomer's first call meets it."""

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from services.standalone import local_model
from tests.stack import Stack, gateway

pytestmark = pytest.mark.skipif(
    not local_model.is_installed(), reason="the local model's packages are not installed"
)
MESSAGES: Any = [{"role": "user", "content": "Say hello."}]


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with gateway(tmp_path_factory.mktemp("newcomer"), {}, local_model=True) as running:
        yield running


def test_anthropics_sdk_streamed_and_not(newcomer: Stack) -> None:
    request: Any = {"model": local_model.NAME, "max_tokens": 12, "messages": MESSAGES}
    with anthropic.Anthropic(base_url=newcomer.url, api_key=newcomer.key) as claude:
        whole = claude.messages.create(**request)
        with claude.messages.stream(**request) as stream:
            texts = list(stream.text_stream)
            folded = stream.get_final_message()
    assert whole.content[0].text
    assert whole.usage.output_tokens in range(1, 13)
    assert len(texts) > 1
    assert "".join(texts) == folded.content[0].text
    assert folded.stop_reason in {"end_turn", "max_tokens"}
    assert folded.usage.output_tokens in range(1, 13)


def test_openais_sdk_streamed_and_not(newcomer: Stack) -> None:
    request: Any = {"model": local_model.NAME, "max_tokens": 12, "messages": MESSAGES}
    with openai.OpenAI(base_url=f"{newcomer.url}/v1", api_key=newcomer.key) as gpt:
        whole = gpt.chat.completions.create(**request)
        chunks = list(gpt.chat.completions.create(**request, stream=True))
    assert whole.choices[0].message.content
    assert whole.usage is not None
    assert whole.usage.completion_tokens in range(1, 13)
    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert len([text for text in texts if text]) > 1
    assert chunks[-1].choices[0].finish_reason in {"stop", "length"}


def test_every_call_has_its_row_and_costs_nothing(newcomer: Stack) -> None:
    with openai.OpenAI(base_url=f"{newcomer.url}/v1", api_key=newcomer.key) as gpt:
        answer = gpt.chat.completions.with_raw_response.create(
            model=local_model.NAME, max_tokens=5, messages=MESSAGES
        )
    call_id = answer.headers["x-weir-call-id"]
    columns = "vendor, outcome, priced, toFloat64(cost), output_tokens > 0"
    assert newcomer.rows(f"call_id = '{call_id}'", columns) == [
        ("openai_compatible", "ok", True, 0.0, 1)
    ]
