"""Model facts: which vendor a model's name belongs to."""

VENDOR_PREFIXES: dict[str, tuple[str, ...]] = {
    "anthropic": ("claude-",),
    "openai": ("gpt-", "chatgpt-", "o1", "o3", "o4", "codex-"),
}


def vendor_of(model: str) -> str | None:
    """The vendor whose own API serves a model of this name, by its prefix."""
    for vendor, prefixes in VENDOR_PREFIXES.items():
        if model.startswith(prefixes):
            return vendor
    return None
