"""The items of a message's `content` list <-> canonical parts, one table each way.

Called for every message of a request and for answers whose content is a list (Mistral's). An
item that is not fully understood stays `Opaque`, as it came.
"""

from collections.abc import Callable

from msgspec.structs import replace

from shared.canonical.parts import (
    Audio,
    Document,
    Image,
    JsonValue,
    Opaque,
    Part,
    Refusal,
    Shape,
    Source,
    Text,
    Thinking,
)

from .wire import (
    Wire,
    decode_cache,
    encode_cache,
    flatten,
    form,
    given,
    is_list,
    is_object,
    leftover,
    nest,
    rebuilt,
    shaped,
)

_TEXT_KEYS = ("type", "text")
_MARKER = ";base64,"


def decode_item(wire: JsonValue) -> Part:
    if not is_object(wire):
        return Opaque(type="item", value=wire)
    kind = wire.get("type")
    decoder = _DECODERS.get(kind) if type(kind) is str else None
    part = decoder(wire) if decoder is not None else None
    return part or Opaque(type=kind if type(kind) is str else "item", value=wire)


def encode_item(part: Part) -> JsonValue:
    return _ENCODERS[type(part)](part)


def decode_content(value: JsonValue) -> tuple[tuple[Part, ...], str | None] | None:
    """The parts, and the form that cannot be told from them; None if it is not understood."""
    if type(value) is str:
        return ((Text(text=value),), None) if value else ((), "string")
    if is_list(value):
        parts = tuple(map(decode_item, value))
        plain = len(parts) == 1 and type(parts[0]) is Text
        return parts, "list" if plain or not parts else None
    return None


def encode_content(parts: list[Part], form: str | None) -> str | list[JsonValue] | None:
    """A string where the source wrote one or a single text allows it, else items."""
    if form != "list":
        text = _plain_text(parts)
        if text is not None and (len(parts) == 1 or form == "string"):
            return text
        if not parts:
            return None
    return [encode_item(part) for part in parts]


def decode_data_url(url: str) -> tuple[str, str] | None:
    """The media type and the base64 of a `data:` URL; None for any other."""
    if not url.startswith("data:"):
        return None
    media_type, marker, data = url[5:].partition(_MARKER)
    return (media_type, data) if marker and media_type and ";" not in media_type else None


def _plain_text(parts: list[Part]) -> str | None:
    texts: list[str] = []
    for part in parts:
        if type(part) is not Text or part.cache is not None or part.extra:
            return None
        texts.append(part.text)
    return "".join(texts)


def _decode_text(wire: Wire) -> Part | None:
    text = wire.get("text")
    if type(text) is not str:
        return None
    if tuple(wire) == _TEXT_KEYS:
        return Text(text=text)
    cache = decode_cache(wire.get("cache_control"))
    fields = {"type": "text", "text": text, "cache_control": cache}
    extra = leftover(wire, set(given(fields)))
    return Text(text=text, cache=cache, extra=extra, shape=shaped(wire, given(fields)))


def _encode_text(part: Text) -> JsonValue:
    cache = encode_cache(part.cache)
    return rebuilt({"type": "text", "text": part.text, "cache_control": cache}, part)


def _decode_image(wire: Wire) -> Part | None:
    bare = wire.get("image_url")
    if type(bare) is str:  # Mistral allows the URL alone
        flat, forms, url = flatten(wire, ""), {"image_url": "string"}, bare
    else:
        flat, forms = flatten(wire, "image_url"), None
        url = flat.get("image_url.url") if flat is not None else None
    if flat is None or type(url) is not str:
        return None
    detail = flat.get("image_url.detail")
    detail = detail if type(detail) is str else None
    cache = decode_cache(flat.get("cache_control"))
    fields = _image_fields(url, detail, cache, bare=forms is not None)
    encoded = decode_data_url(url)
    return Image(
        source=Source(url=url) if encoded is None else Source(data=encoded[1]),
        media_type=encoded[0] if encoded is not None else None,
        detail=detail,
        cache=cache,
        extra=leftover(flat, set(given(fields))),
        shape=shaped(flat, given(fields), forms),
    )


def _encode_image(part: Image) -> JsonValue:
    source = part.source
    url = source.url or encode_data_url(part.media_type or "image/png", source.data or "")
    bare = form(part, "image_url") == "string"
    fields = _image_fields(url, part.detail, encode_cache(part.cache), bare=bare)
    return nest(rebuilt(fields, part))


def _image_fields(url: str, detail: str | None, cache: object, *, bare: bool) -> Wire:
    key = "image_url" if bare else "image_url.url"
    return {"type": "image_url", key: url, "image_url.detail": detail, "cache_control": cache}


def encode_data_url(media_type: str, data: str) -> str:
    return f"data:{media_type}{_MARKER}{data}"


def _decode_audio(wire: Wire) -> Part | None:
    flat = flatten(wire, "input_audio")
    data = flat.get("input_audio.data") if flat is not None else None
    if flat is None or type(data) is not str:
        return None
    kind = flat.get("input_audio.format")
    audio = Audio(source=Source(data=data), format=kind if type(kind) is str else None)
    return _noted(audio, flat, _audio_fields(audio))


def _encode_audio(part: Audio) -> JsonValue:
    return nest(rebuilt(_audio_fields(part), part))


def _audio_fields(part: Audio) -> Wire:
    data, kind = part.source.data, part.format
    return {"type": "input_audio", "input_audio.data": data, "input_audio.format": kind}


def _decode_file(wire: Wire) -> Part | None:
    flat = flatten(wire, "file")
    if flat is None:
        return None
    data, file_id, name = (flat.get(f"file.{key}") for key in ("file_data", "file_id", "filename"))
    if (type(data) is str) is (type(file_id) is str):
        return None
    source, media_type = (
        _file_source(data) if type(data) is str else (Source(file_id=file_id), None)
    )
    cache = decode_cache(flat.get("cache_control"))
    document = Document(
        source=source,
        media_type=media_type,
        name=name if type(name) is str else None,
        cache=cache,
    )
    return _noted(document, flat, _file_fields(document, cache))


def _file_source(data: str) -> tuple[Source, str | None]:
    """OpenAI documents base64 and takes a `data:` URL; OpenRouter takes any URL, too."""
    encoded = decode_data_url(data)
    if encoded is not None:
        return Source(data=encoded[1]), encoded[0]
    if data.startswith(("data:", "http:", "https:")):
        return Source(url=data), None
    return Source(data=data), None


def _encode_file(part: Document) -> JsonValue:
    return nest(rebuilt(_file_fields(part, encode_cache(part.cache)), part))


def _file_fields(part: Document, cache: object) -> Wire:
    source, data = part.source, part.source.url
    if source.data is not None:
        kind = part.media_type
        data = source.data if kind is None else encode_data_url(kind, source.data)
    return {
        "type": "file",
        "file.file_id": source.file_id,
        "file.filename": part.name,
        "file.file_data": data,
        "cache_control": cache,
    }


def _noted(part: Audio | Document, flat: Wire, fields: Wire) -> Part:
    extra = leftover(flat, set(given(fields)))
    return replace(part, extra=extra, shape=shaped(flat, given(fields)))


def _decode_refusal(wire: Wire) -> Part | None:
    text = wire.get("refusal")
    if type(text) is not str:
        return None
    extra = leftover(wire, ("type", "refusal"))
    return Refusal(text=text, extra=extra, shape=Shape(tuple(wire), {"at": "content"}))


def _encode_refusal(part: Refusal) -> JsonValue:
    return rebuilt({"type": "refusal", "refusal": part.text}, part)


def _decode_thinking(wire: Wire) -> Part | None:
    """Mistral's: `{"type": "thinking", "thinking": [{"type": "text", "text": t}]}`."""
    text = thinking_text(wire.get("thinking"))
    if text is None:
        return None
    extra = leftover(wire, ("type", "thinking"))
    return Thinking(text=text, extra=extra, shape=Shape(tuple(wire), {"at": "content"}))


def thinking_text(value: JsonValue) -> str | None:
    if is_list(value) and len(value) == 1 and is_object(value[0]):
        inner = value[0]
        if inner.keys() == {"type", "text"} and inner["type"] == "text":
            return inner["text"] if type(inner["text"]) is str else None
    return None


def _encode_thinking(part: Thinking) -> JsonValue:
    inner = [{"type": "text", "text": part.text}]
    return rebuilt({"type": "thinking", "thinking": inner}, part)


def _encode_opaque(part: Opaque) -> JsonValue:
    return part.value


_DECODERS: dict[str, Callable[[Wire], Part | None]] = {
    "text": _decode_text,
    "image_url": _decode_image,
    "input_audio": _decode_audio,
    "file": _decode_file,
    "refusal": _decode_refusal,
    "thinking": _decode_thinking,
}

_ENCODERS: dict[type, Callable[..., JsonValue]] = {
    Text: _encode_text,
    Image: _encode_image,
    Audio: _encode_audio,
    Document: _encode_file,
    Refusal: _encode_refusal,
    Thinking: _encode_thinking,
    Opaque: _encode_opaque,
}
