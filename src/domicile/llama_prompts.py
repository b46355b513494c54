"""What llama.cpp's server says of prompts, on the routes beside OpenAI's: counting, tokens, slots on disk.

Speaks through whatever asks a child one short question; knows no child, no model and no conversation.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

Told = Callable[[str, str, bytes], Awaitable[tuple[int, bytes]]]
"""Method, path and body: status and answer."""

_CHAT = "/v1/chat/completions"


class LlamaPrompts:
    """See `engines.Prompts`."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._context: int | None = None

    async def context(self) -> int | None:
        if self._context is None:
            said = await self._asked("GET", "/props", None)
            self._context = _number((said or {}).get("default_generation_settings"), "n_ctx")
        return self._context

    async def count(self, path: str, body: bytes) -> int | None:
        if path == _CHAT:
            said = await self._asked("POST", f"{_CHAT}/input_tokens", body)
            return _number(said, "input_tokens")
        prompts = json.loads(body).get("prompt")
        several = isinstance(prompts, list) and any(isinstance(p, (str, list)) for p in prompts)
        counts = [await self._count_prompt(p) for p in (prompts if several else [prompts])]
        known = [c for c in counts if c is not None]
        return max(known) if len(known) == len(counts) else None

    async def _count_prompt(self, prompt: object) -> int | None:
        if isinstance(prompt, list):
            return len(prompt)
        return await self.count_text(prompt) if isinstance(prompt, str) else None

    async def count_text(self, text: str) -> int | None:
        found = await self._tokenize(text)
        return None if found is None else len(found)

    async def tokens(self, path: str, body: bytes) -> list[int] | None:
        if path == _CHAT:
            text = ((await self._asked("POST", "/apply-template", body)) or {}).get("prompt")
        else:
            text = json.loads(body).get("prompt")
        return await self._tokenize(text) if isinstance(text, str) else None

    async def _tokenize(self, text: str) -> list[int] | None:
        asked = {"content": text, "add_special": True, "parse_special": True}
        found = ((await self._asked("POST", "/tokenize", _json(asked))) or {}).get("tokens")
        return found if isinstance(found, list) else None

    async def slots(self) -> Sequence[bool]:
        status, answer = await self._told("GET", "/slots", b"")
        found = json.loads(answer) if status == 200 else []
        return [not slot.get("is_processing") for slot in found]

    async def save(self, slot: int, file: str) -> int:
        said = await self._asked("POST", f"/slots/{slot}?action=save", _json({"filename": file}))
        return _number(said, "n_saved") or 0

    async def restore(self, slot: int, file: str) -> int:
        said = await self._asked("POST", f"/slots/{slot}?action=restore", _json({"filename": file}))
        return _number(said, "n_restored") or 0

    async def shorten(self, slot: int, tokens: Sequence[int]) -> bool:
        asked = {"prompt": list(tokens), "n_predict": 0, "cache_prompt": True, "id_slot": slot}
        return await self._asked("POST", "/completion", _json(asked)) is not None

    async def _asked(self, method: str, path: str, body: bytes | None) -> Mapping[str, Any] | None:
        status, answer = await self._told(method, path, body or b"")
        said = json.loads(answer) if status == 200 else None
        return said if isinstance(said, dict) else None


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _number(said: object, key: str) -> int | None:
    value = said.get(key) if isinstance(said, dict) else None
    return value if isinstance(value, int) else None
