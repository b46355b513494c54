"""The child of the transformers engine: one safetensors model, asked in OpenAI's dialect.

Chat, completions, text to text, and pictures where the model's processor takes them. Reads what is asked, makes a
`Row` of it, and dresses what comes back. How tokens are chosen and shared among callers is `textgen`'s.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from domicile.child_http import Counts, Handler, Refusal, Response, as_events, as_json
from domicile.child_life import UnfitError, live
from domicile.textgen.batch import Batch
from domicile.textgen.folder import UnsafeError, sanitised
from domicile.textgen.loading import Loaded
from domicile.textgen.loading import load as load_model
from domicile.textgen.rows import Piece, Row, Wish

_MOST_PIXELS = 50_000_000
_MOST_PICTURES = 16
_ENOUGH_TOKENS = 16


def main() -> None:
    live(load)


def load(asked: dict[str, Any]) -> dict[str, Handler]:
    """The model, and the routes that answer for it."""
    import torch

    torch.set_num_threads(asked["threads"])
    private = Path(asked["folder"])
    try:
        folder = sanitised([Path(file) for file in asked["files"]], private / "model")
    except UnsafeError as trouble:
        raise UnfitError(str(trouble)) from trouble
    voice = Voice(load_model(folder, private / "offload"), asked)
    return {
        "POST /v1/chat/completions": voice.chat,
        "POST /v1/completions": voice.complete,
        "POST /apply-template": voice.template,
        "POST /count": voice.count,
        "POST /v1/chat/completions/input_tokens": voice.count,
        "GET /counts": voice.counts,
    }


class Voice:
    """The routes."""

    def __init__(self, loaded: Loaded, asked: Mapping[str, Any]) -> None:
        self._loaded = loaded
        self._name = str(asked["alias"])
        self._template: str | None = asked.get("template")
        slots = max(1, int(asked["plan"]["n_parallel"]))
        trained = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
        context = int(asked["plan"]["n_ctx"]) // slots
        self._context = min(context, trained) if isinstance(trained, int) and trained > 0 else context
        self._batch = Batch(loaded.model, slots, self._context, together=loaded.together)
        self._counts = Counts(more={"context": self._context, "dtype": loaded.dtype, "together": loaded.together})

    # -- the routes --

    async def chat(self, data: dict[str, Any]) -> Response:
        messages = data.get("messages")
        if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
            raise Refusal("messages is no list of messages", param="messages")
        prompt, inputs = await asyncio.to_thread(self._read_chat, messages, data)
        return await self._answer(prompt, inputs, data, _Chat(self._name))

    async def complete(self, data: dict[str, Any]) -> Response:
        text = data.get("prompt", "")
        text = text[0] if isinstance(text, list) and len(text) == 1 else text
        if isinstance(text, list) and all(type(token) is int for token in text):
            size = self._loaded.model.get_input_embeddings().num_embeddings
            if not all(0 <= token < size for token in text):
                raise Refusal("a token of the prompt is not in the vocabulary", param="prompt")
            prompt = list(text)
        elif isinstance(text, str):
            prompt = list(self._loaded.tokenizer(text)["input_ids"])
        else:
            raise Refusal("prompt is neither a text nor a list of tokens", param="prompt")
        return await self._answer(prompt, {}, data, _Completion(self._name))

    async def template(self, data: dict[str, Any]) -> Response:
        return as_json({"prompt": self._rendered(data.get("messages") or [], data)})

    async def count(self, data: dict[str, Any]) -> Response:
        """How many tokens a prompt is, without reading it."""
        if "messages" in data:
            prompt, _ = await asyncio.to_thread(self._read_chat, data["messages"], data)
        else:
            prompt = list(self._loaded.tokenizer(str(data.get("prompt", "")))["input_ids"])
        return as_json({"tokens": prompt, "input_tokens": len(prompt), "context": self._context})

    async def counts(self, _: dict[str, Any]) -> Response:
        return as_json(self._counts.public())

    # -- what is asked --

    def _rendered(self, messages: Sequence[Mapping[str, Any]], data: Mapping[str, Any]) -> str:
        """A conversation as the model was taught to read it: its own template, in the library's sandbox, once it has
        been judged; a model without one gets the last words as they are."""
        tokenizer = self._loaded.processor or self._loaded.tokenizer
        chosen = self._template or getattr(tokenizer, "chat_template", None) or self._loaded.tokenizer.chat_template
        if chosen is None:
            return "\n".join(_text_of(m) for m in messages if m.get("role") != "system")
        more = data.get("chat_template_kwargs")
        more = {str(k): v for k, v in more.items()} if isinstance(more, dict) else {}
        for reserved in ("chat_template", "tokenize", "conversation", "tools", "add_generation_prompt"):
            more.pop(reserved, None)
        plain = [{**m, "content": _plain(m.get("content"), keep=self._loaded.processor is not None)} for m in messages]
        try:
            return str(
                tokenizer.apply_chat_template(
                    plain, tools=data.get("tools") or None, chat_template=chosen, tokenize=False,
                    add_generation_prompt=True, **more,
                )
            )  # fmt: skip
        except Exception as trouble:
            raise Refusal(
                f"the chat template refuses this conversation: {trouble}"[:300], param="messages"
            ) from trouble

    def _read_chat(
        self, messages: Sequence[Mapping[str, Any]], data: Mapping[str, Any]
    ) -> tuple[list[int], dict[str, Any]]:
        pictures = [p for m in messages for p in _pictures(m)]
        if pictures and self._loaded.processor is None:
            raise Refusal("image input is not supported by this model", param="messages")
        text = self._rendered(messages, data)
        if not pictures:
            special = self._loaded.encodes or not self._has_template()
            return list(self._loaded.tokenizer(text, add_special_tokens=special)["input_ids"]), {}
        try:
            images = [_opened(picture) for picture in pictures]
            inputs = dict(self._loaded.processor(text=[text], images=images, return_tensors="pt"))
        except Refusal:
            raise
        except Exception as trouble:
            raise Refusal(f"a picture cannot be read: {trouble}"[:300], param="messages") from trouble
        dtype = self._loaded.model.dtype
        inputs = {k: v.to(dtype) if v.is_floating_point() else v for k, v in inputs.items()}
        return inputs["input_ids"][0].tolist(), inputs

    def _has_template(self) -> bool:
        return bool(self._template or self._loaded.tokenizer.chat_template)

    def _wish(self, data: Mapping[str, Any], prompt: int) -> Wish:
        room = self._context if self._loaded.encodes else self._context - prompt
        most = data.get("max_completion_tokens") or data.get("max_tokens") or data.get("n_predict")
        most = room if not isinstance(most, int) or most < 1 else min(most, room)
        stop = data.get("stop") or []
        logprobs = data.get("logprobs")
        tops = data.get("top_logprobs") or 0
        if type(logprobs) is int:  # of completions: how many
            logprobs, tops = True, logprobs
        return Wish(
            max_tokens=max(1, most),
            temperature=_number(data, "temperature", 1.0, 0.0, 100.0),
            top_k=int(_number(data, "top_k", 0, 0, 1 << 20)),
            top_p=_number(data, "top_p", 1.0, 0.0, 1.0),
            min_p=_number(data, "min_p", 0.0, 0.0, 1.0),
            repetition_penalty=_number(
                data, "repetition_penalty", _number(data, "repeat_penalty", 1.0, 0.01, 10), 0.01, 10
            ),
            frequency_penalty=_number(data, "frequency_penalty", 0.0, -10, 10),
            presence_penalty=_number(data, "presence_penalty", 0.0, -10, 10),
            seed=data["seed"] if isinstance(data.get("seed"), int) and data["seed"] >= 0 else None,
            stop=tuple(s for s in ([stop] if isinstance(stop, str) else stop) if isinstance(s, str) and s)[:64],
            ignore_eos=data.get("ignore_eos") is True,
            logprobs=max(0, min(20, int(tops))) if logprobs else None,
        )

    # -- the answer --

    async def _answer(
        self, prompt: list[int], inputs: dict[str, Any], data: Mapping[str, Any], dress: _Dress
    ) -> Response:
        if not prompt:
            raise Refusal("the prompt is empty", param=dress.param)
        if len(prompt) >= self._context:
            raise Refusal(
                f"the prompt has {len(prompt)} tokens, the context {self._context}", 400,
                "exceed_context_size_error", n_prompt_tokens=len(prompt), n_ctx=self._context,
            )  # fmt: skip
        if int(data.get("n") or 1) != 1:
            raise Refusal("one answer at a time: n must be 1", param="n")
        pieces: asyncio.Queue[Piece | BaseException] = asyncio.Queue()
        loop, tokenizer = asyncio.get_running_loop(), self._loaded.tokenizer

        def tell(piece: Piece | BaseException) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

        def decode(tokens: Sequence[int]) -> str:
            return str(tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))

        row = Row(
            prompt, self._wish(data, len(prompt)),
            tell,
            decode, self._loaded.ends, inputs,
        )  # fmt: skip
        asked_at = time.monotonic()
        self._batch.add(row)

        async def told() -> AsyncIterator[Piece]:
            try:
                while True:
                    piece = await pieces.get()
                    if isinstance(piece, BaseException):
                        raise piece
                    yield piece
                    if piece.finish:
                        return
            finally:
                row.left = True
                self._count(row)

        if data.get("stream"):
            options = data.get("stream_options")
            usage = isinstance(options, dict) and options.get("include_usage") is True
            return as_events(dress.streamed(told(), row, asked_at, usage=usage))
        whole = [piece async for piece in told()]
        return as_json(dress.whole(whole, row, asked_at))

    def _count(self, row: Row) -> None:
        self._counts.prompt += len(row.prompt)
        self._counts.generated += len(row.tokens)
        seconds = (row.ended or time.monotonic()) - row.began
        if row.began and len(row.tokens) >= _ENOUGH_TOKENS and seconds > 0:
            self._counts.rate = (len(row.tokens) - 1) / seconds


class _Dress:
    """An answer in one of OpenAI's shapes."""

    param = "messages"
    whole_kind, piece_kind, prefix = "chat.completion", "chat.completion.chunk", "chatcmpl"

    def __init__(self, model: str) -> None:
        self._frame = {"id": f"{self.prefix}-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}

    def choice(self, text: str, finish: str | None, logprobs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        raise NotImplementedError

    def delta(self, piece: Piece, first: bool) -> dict[str, Any]:
        raise NotImplementedError

    def whole(self, pieces: Sequence[Piece], row: Row, asked_at: float) -> dict[str, Any]:
        text = "".join(piece.text for piece in pieces)
        choice = self.choice(text, row.finish, [one for piece in pieces for one in piece.logprobs])
        return {**self._frame, "object": self.whole_kind, "choices": [choice], **_told(row, asked_at)}

    async def streamed(
        self, pieces: AsyncIterator[Piece], row: Row, asked_at: float, *, usage: bool
    ) -> AsyncIterator[dict[str, Any]]:
        frame, first = {**self._frame, "object": self.piece_kind}, True
        try:
            async for piece in pieces:
                last = {"timings": _told(row, asked_at)["timings"]} if piece.finish else {}
                yield {**frame, "choices": [self.delta(piece, first)], **last}
                first = False
            if usage:
                yield {**frame, "choices": [], **_told(row, asked_at)}
        finally:
            await pieces.aclose()  # type: ignore[attr-defined]


class _Chat(_Dress):
    def choice(self, text: str, finish: str | None, logprobs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        message = {"role": "assistant", "content": text}
        told = {"logprobs": {"content": list(logprobs)} if logprobs else None}
        return {"index": 0, "message": message, "finish_reason": finish, **told}

    def delta(self, piece: Piece, first: bool) -> dict[str, Any]:
        said: dict[str, Any] = {"role": "assistant"} if first else {}
        if piece.text or first:
            said["content"] = piece.text
        told = {"logprobs": {"content": list(piece.logprobs)}} if piece.logprobs else {}
        return {"index": 0, "delta": said, "finish_reason": piece.finish, **told}


class _Completion(_Dress):
    param = "prompt"
    whole_kind, piece_kind, prefix = "text_completion", "text_completion", "cmpl"

    def choice(self, text: str, finish: str | None, logprobs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        told = {
            "tokens": [one["token"] for one in logprobs],
            "token_logprobs": [one["logprob"] for one in logprobs],
            "top_logprobs": [{top["token"]: top["logprob"] for top in one["top_logprobs"]} for one in logprobs],
        }
        return {"index": 0, "text": text, "finish_reason": finish, "logprobs": told if logprobs else None}

    def delta(self, piece: Piece, first: bool) -> dict[str, Any]:
        return self.choice(piece.text, piece.finish, piece.logprobs)


def _told(row: Row, asked_at: float) -> dict[str, Any]:
    """Usage as OpenAI counts it, and timings as llama.cpp tells them."""
    prompt, made = len(row.prompt), len(row.tokens)
    reading = max(0.0, row.began - asked_at)
    writing = max(1e-9, (row.ended or time.monotonic()) - row.began)
    usage = {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}
    timings = {
        "prompt_n": prompt,
        "prompt_ms": 1000 * reading,
        "prompt_per_second": prompt / reading if reading else None,
        "predicted_n": made,
        "predicted_ms": 1000 * writing,
        "predicted_per_second": (made - 1) / writing if made > 1 else None,
    }
    return {"usage": usage, "timings": timings}


def _number(data: Mapping[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = data.get(name)
    if value is None or isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return default
    return min(high, max(low, value))


def _text_of(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    parts = content if isinstance(content, list) else [{"text": content or ""}]
    return "".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))


def _plain(content: Any, *, keep: bool) -> Any:
    """Contents as templates expect them: a text, or (for a model with eyes) parts of which pictures are marks."""
    if not isinstance(content, list):
        return content if content is not None else ""
    if not keep:
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    marks = [part for part in content if isinstance(part, dict)]
    return [{"type": "image"} if "image_url" in m else {"type": "text", "text": str(m.get("text", ""))} for m in marks]


def _pictures(message: Mapping[str, Any]) -> list[str]:
    content = message.get("content")
    found = []
    for part in content if isinstance(content, list) else []:
        if isinstance(part, dict) and "image_url" in part:
            url = part["image_url"]
            found.append(str(url.get("url", "") if isinstance(url, dict) else url))
    if len(found) > _MOST_PICTURES:
        raise Refusal(f"more than {_MOST_PICTURES} pictures", param="messages")
    return found


def _opened(url: str) -> Any:
    """A picture of a `data:` address; nothing is fetched, and its size is known before it is unpacked."""
    from PIL import Image

    head, _, body = url.partition(",")
    if not head.startswith("data:image/") or not head.endswith(";base64"):
        raise Refusal("a picture must come in the request itself, as data:image/...;base64,...", param="messages")
    try:
        picture = Image.open(
            io.BytesIO(base64.b64decode(body, validate=True)), formats=["PNG", "JPEG", "WEBP", "GIF", "BMP"]
        )
    except (binascii.Error, ValueError, OSError) as trouble:
        raise Refusal("a picture cannot be read", param="messages") from trouble
    if picture.width * picture.height > _MOST_PIXELS:
        raise Refusal(f"a picture of more than {_MOST_PIXELS // 10**6} megapixels", param="messages")
    return picture.convert("RGB")
