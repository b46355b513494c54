"""What may follow a `?` where it is many things: named here so that ROUTES knows it without the rooms."""

from __future__ import annotations

SEARCH = (
    "text", "author", "task", "quantisation", "licence", "parameters_min", "parameters_max", "size_max",
    "updated_after", "created_after", "format", "gated", "sort", "limit", "cursor", "fits", "speed", "source", "type",
)  # fmt: skip
HUGGINGFACE = ("q", "limit", "sort", "quantization", "parameter_size", "min_downloads", "cursor")
CHATS = ("q", "folder", "pinned", "archived", "limit", "cursor")
