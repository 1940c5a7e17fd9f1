"""Image and document blocks <-> parts, the sources of their bytes, and cache marks."""

from base64 import b64decode

from shared.canonical.parts import CacheControl, Document, Image, JsonValue, Source

from .wire import Wire, form, is_object, leftover, rebuilt, shaped, take

_MEDIA = (("type", "source"),)
_CACHE_ORDERS = (("type",), ("type", "ttl"))
_SOURCE_ORDERS = (
    ("type", "media_type", "data"),
    ("type", "url"),
    ("type", "file_id"),
)

USUAL_MEDIA_TYPE = "application/pdf"
"""Of a document in base64: Anthropic takes no other kind there."""

IMAGE_SOURCES = ("base64", "url", "file")
DOCUMENT_SOURCES = (*IMAGE_SOURCES, "text", "content")

# The field of `Source` and the key on the wire, by the source's type.
_FIELDS: dict[str, tuple[str, str]] = {
    "base64": ("data", "data"),
    "url": ("url", "url"),
    "file": ("file_id", "file_id"),
    "text": ("text", "data"),
    "content": ("text", "content"),
}


def take_cache(rest: Wire) -> CacheControl | None:
    """Removes and gives `cache_control`, if it is of the documented kind."""
    wire = rest.get("cache_control")
    if not is_object(wire) or wire.get("type") != "ephemeral":
        return None
    del rest["cache_control"]
    inner = dict(wire)
    del inner["type"]
    ttl = take(inner, "ttl", str)
    return CacheControl(ttl=ttl, extra=leftover(inner), shape=shaped(wire, _CACHE_ORDERS))


def encode_cache(cache: CacheControl | None, *, own: bool) -> Wire | None:
    if cache is None:
        return None
    return rebuilt({"type": "ephemeral", "ttl": cache.ttl}, cache, own=own)


def decode_source(wire: JsonValue, kinds: tuple[str, ...]) -> tuple[Source, str | None] | None:
    """A source and its media type; None for a source that has no canonical meaning."""
    if not is_object(wire):
        return None
    rest = dict(wire)
    kind = take(rest, "type", str)
    if kind not in kinds:
        return None
    field, key = _FIELDS[kind]
    value = take(rest, key, str)
    if value is None:
        return None
    media_type = take(rest, "media_type", str)
    forms = {"type": kind} if field == "text" else None
    shape = shaped(wire, _SOURCE_ORDERS, forms)
    return Source(**{field: value}, extra=leftover(rest), shape=shape), media_type


def encode_source(part: Image | Document, *, own: bool) -> Wire:
    source, media_type = part.source, part.media_type
    if own:
        return rebuilt(_own_source(source, media_type), source, own=True)
    if source.text is not None:
        return _text(source.text)
    if source.file_id is not None:
        return {"type": "file", "file_id": source.file_id}
    data = source.data
    if data is None:
        media_type, data = split_data_url(source.url or "") or (None, None)
    if data is None:
        return {"type": "url", "url": source.url}
    media_type = media_type or USUAL_MEDIA_TYPE
    if isinstance(part, Document) and media_type.startswith("text/"):
        text = _decoded_text(data)
        if text is not None:
            return _text(text)
    return {"type": "base64", "media_type": media_type, "data": data}


def _own_source(source: Source, media_type: str | None) -> Wire:
    kind = form(source, "type") or next(
        kind for kind, (field, _) in _FIELDS.items() if getattr(source, field) is not None
    )
    field, key = _FIELDS[kind]
    return {"type": kind, "media_type": media_type, key: getattr(source, field)}


def _decoded_text(data: str) -> str | None:
    try:
        return b64decode(data, validate=True).decode()
    except ValueError:
        return None


def _text(text: str) -> Wire:
    return {"type": "text", "media_type": "text/plain", "data": text}


def split_data_url(url: str) -> tuple[str, str] | None:
    """The media type and the base64 text of a `data:` URL; Anthropic fetches only real ones."""
    head, _, data = url.partition(",")
    if not head.startswith("data:") or not head.endswith(";base64"):
        return None
    return head.removeprefix("data:").partition(";")[0], data


def decode_image(wire: Wire) -> Image | None:
    decoded = decode_source(wire.get("source"), IMAGE_SOURCES)
    if decoded is None:
        return None
    rest = dict(wire)
    del rest["type"], rest["source"]
    source, media_type = decoded
    cache = take_cache(rest)
    return Image(
        source=source,
        media_type=media_type,
        cache=cache,
        extra=leftover(rest),
        shape=shaped(wire, _MEDIA),
    )


def decode_document(wire: Wire) -> Document | None:
    decoded = decode_source(wire.get("source"), DOCUMENT_SOURCES)
    if decoded is None:
        return None
    rest = dict(wire)
    del rest["type"], rest["source"]
    source, media_type = decoded
    return Document(
        source=source,
        media_type=media_type,
        name=take(rest, "title", str),
        context=take(rest, "context", str),
        cache=take_cache(rest),
        extra=leftover(rest),
        shape=shaped(wire, _MEDIA),
    )


def encode_image(part: Image, *, own: bool) -> Wire:
    fields: Wire = {
        "type": "image",
        "source": encode_source(part, own=own),
        "cache_control": encode_cache(part.cache, own=own),
    }
    return rebuilt(fields, part, own=own)


def encode_document(part: Document, *, own: bool) -> Wire:
    fields: Wire = {
        "type": "document",
        "source": encode_source(part, own=own),
        "title": part.name,
        "context": part.context,
        "cache_control": encode_cache(part.cache, own=own),
    }
    return rebuilt(fields, part, own=own)
