"""The child of the transformers engine: one safetensors model, asked in OpenAI's dialect.

Chat, completions, text to text, and pictures where the model's processor takes them. The routes, how tokens are chosen
and how they are shared among callers are `textgen`'s.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from domicile.child_http import Handler, Refusal
from domicile.child_life import UnfitError, live
from domicile.textgen.batch import Batch
from domicile.textgen.folder import UnsafeError, sanitised
from domicile.textgen.loading import Loaded
from domicile.textgen.loading import load as load_model
from domicile.textgen.rows import Row
from domicile.textgen.voice import Voice, text_of
from domicile.thrift import give_back

_MOST_PIXELS = 50_000_000
_MOST_PICTURES = 16


def main() -> None:
    live(load)


def load(asked: dict[str, Any]) -> dict[str, Handler]:
    """The model, and the routes that answer for it."""
    private = Path(asked["folder"])
    try:  # a refusal need not wait for the seconds that the library takes
        folder = sanitised([Path(file) for file in asked["files"]], private / "model")
    except UnsafeError as trouble:
        raise UnfitError(str(trouble)) from trouble
    import torch

    torch.set_num_threads(asked["threads"])
    loaded = load_model(folder, private / "offload")
    give_back()
    return Torch(loaded, asked).routes()


class Torch(Voice):
    """A model of transformers."""

    def __init__(self, loaded: Loaded, asked: Mapping[str, Any]) -> None:
        slots = max(1, int(asked["plan"]["n_parallel"]))
        trained = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
        context = int(asked["plan"]["n_ctx"]) // slots
        context = min(context, trained) if isinstance(trained, int) and trained > 0 else context
        super().__init__(str(asked["alias"]), context, dtype=loaded.dtype, together=loaded.together)
        self._loaded = loaded
        self._template: str | None = asked.get("template")
        self._batch = Batch(loaded.model, slots, context, together=loaded.together)
        self.ends = frozenset(token for token in loaded.ends if token < self.vocabulary())
        self.encodes = loaded.encodes

    def encode(self, text: str) -> list[int]:
        """See `Voice`."""
        return list(self._loaded.tokenizer(text)["input_ids"])

    def decode(self, tokens: Sequence[int]) -> str:
        """See `Voice`."""
        said = self._loaded.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(said)

    def vocabulary(self) -> int:
        """See `Voice`."""
        return int(self._loaded.model.get_input_embeddings().num_embeddings)

    def add(self, row: Row) -> None:
        """See `Voice`."""
        self._batch.add(row)

    def rendered(self, messages: Sequence[Mapping[str, Any]], data: Mapping[str, Any]) -> str:
        """A conversation as the model was taught to read it: its own template, in the library's sandbox, once it has
        been judged; a model without one gets the last words as they are."""
        tokenizer = self._loaded.processor or self._loaded.tokenizer
        chosen = self._template or getattr(tokenizer, "chat_template", None) or self._loaded.tokenizer.chat_template
        if chosen is None:
            return "\n".join(text_of(m) for m in messages if m.get("role") != "system")
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

    def read_chat(
        self, messages: Sequence[Mapping[str, Any]], data: Mapping[str, Any]
    ) -> tuple[list[int], dict[str, Any]]:
        pictures = [p for m in messages for p in _pictures(m)]
        if pictures and self._loaded.processor is None:
            raise Refusal("image input is not supported by this model", param="messages")
        text = self.rendered(messages, data)
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
