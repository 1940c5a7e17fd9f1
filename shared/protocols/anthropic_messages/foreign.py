"""What another protocol's client wrote, made sayable in Anthropic's words.

Called by the request encoder for every part that did not come from this protocol. Each part
is kept, changed, or left out and reported in `Losses`; what must not be lost is refused, by
the client's own path. A table {part: check}, each check short.
"""

from collections.abc import Callable, Iterable, Iterator

from msgspec.structs import replace

from shared.canonical.failures import InvalidRequestError
from shared.canonical.parts import (
    CacheControl,
    Document,
    Image,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from shared.protocols.codec import Losses
from shared.protocols.paths import describe


def admit_parts(parts: Iterable[Part], paths: Iterable[str], losses: Losses) -> Iterator[Part]:
    """The parts that Anthropic can be told. Raises InvalidRequestError."""
    for part, path in zip(parts, paths, strict=True):
        admitted = _CHECKS.get(type(part), _refuse)(part, path, losses)
        if admitted is not None:
            yield admitted


def refuse_part(part: Part, path: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"{path}: Anthropic's Messages protocol has no place for this {describe(part)}", field=path
    )


def _refuse(part: Part, path: str, losses: Losses) -> Part | None:
    raise refuse_part(part, path)


def _keep(part: Part, path: str, losses: Losses) -> Part | None:
    losses.drop_extra(path, part.extra)
    return part


def _admit_text(part: Text, path: str, losses: Losses) -> Part | None:
    """Anthropic refuses text without a character to see; without one nothing is lost."""
    losses.drop_extra(path, part.extra)
    _drop_cache_extra(part.cache, path, losses)
    if part.citations is not None:
        losses.drop(f"{path}.citations")
    return part if part.text and not part.text.isspace() else None


def _admit_image(part: Image, path: str, losses: Losses) -> Part | None:
    _drop_media_extra(part, path, losses)
    if part.detail is not None:
        losses.drop(f"{path}.detail")
    if part.source.data is not None and part.media_type is None:
        raise InvalidRequestError(f"{path}: an image in base64 needs its media type", field=path)
    return part


def _admit_document(part: Document, path: str, losses: Losses) -> Part | None:
    _drop_media_extra(part, path, losses)
    return part


def _admit_thinking(part: Thinking, path: str, losses: Losses) -> Part | None:
    """Anthropic takes back only reasoning that bears its own seal."""
    seal = part.vendor_data.get("data" if part.redacted else "signature")
    if not isinstance(seal, str) or not seal:
        losses.drop(path)
        return None
    return _keep(part, path, losses)


def _admit_tool_call(part: ToolCall, path: str, losses: Losses) -> Part | None:
    losses.drop_extra(path, part.extra)
    losses.drop_extra(path, part.vendor_data)
    _drop_cache_extra(part.cache, path, losses)
    return part


def _admit_tool_result(part: ToolResult, path: str, losses: Losses) -> Part | None:
    losses.drop_extra(path, part.extra)
    _drop_cache_extra(part.cache, path, losses)
    paths = [f"{path}.content.{index}" for index in range(len(part.parts))]
    return replace(part, parts=tuple(admit_parts(part.parts, paths, losses)))


def _drop_media_extra(part: Image | Document, path: str, losses: Losses) -> None:
    losses.drop_extra(path, part.extra)
    losses.drop_extra(path, part.source.extra)
    _drop_cache_extra(part.cache, path, losses)


def _drop_cache_extra(cache: CacheControl | None, path: str, losses: Losses) -> None:
    if cache is not None:
        losses.drop_extra(f"{path}.cache_control", cache.extra)


_CHECKS: dict[type, Callable[..., Part | None]] = {
    Text: _admit_text,
    Refusal: _keep,
    Image: _admit_image,
    Document: _admit_document,
    Thinking: _admit_thinking,
    ToolCall: _admit_tool_call,
    ToolResult: _admit_tool_result,
}
