"""Rows decoded together: a conversation joins between two tokens of the others, and leaves when it is over.

One thread owns the model. Each turn: who waits is read (its prompt alone, then its keys and values are laid beside the
others', the shorter padded on the left), then one step for all. Where a model's cache is not of plain keys and values
(windows, recurrent state, an encoder), or its positions are its own affair (pictures), rows go one after the other
through the library's own `generate`. The library's paged batching needs kernels of a GPU; this needs none.
"""

from __future__ import annotations

import queue
import threading
import traceback
from collections.abc import Sequence
from typing import Any

from domicile.textgen.rows import Row

_READ = 1024
"""Tokens of a prompt that are read at once: who leaves is noticed between two of them."""


class Batch:
    """The thread and its rows. `most` rows at once, and no more than `tokens` of context for all of them, which is
    what was predicted of the memory; `together` where the model can."""

    def __init__(self, model: Any, most: int, tokens: int, *, together: bool) -> None:
        self._model = model
        self._most = most
        self._tokens = tokens
        self._together = together
        self._next: Row | None = None
        """Who is next, and waits for others to leave."""
        self._waiting: queue.SimpleQueue[Row] = queue.SimpleQueue()
        self._rows: list[Row] = []
        self._cache: Any = None
        self._mask: Any = None
        threading.Thread(target=self._run, name="batch", daemon=True).start()

    def add(self, row: Row) -> None:
        """A row to decode, as soon as there is room."""
        self._waiting.put(row)

    def _run(self) -> None:
        import torch

        with torch.inference_mode():
            while True:
                try:
                    self._turn()
                except BaseException as trouble:  # noqa: BLE001 - told to whoever waits; the thread goes on
                    traceback.print_exception(trouble)
                    for row in self._rows:
                        row.tell(trouble)
                    self._rows, self._cache, self._mask = [], None, None

    def _turn(self) -> None:
        """Let in who waits, then one token for everybody. Sleeps while nobody is there."""
        while len(self._rows) < self._most:
            try:
                row = self._next or self._waiting.get(block=not self._rows)
            except queue.Empty:
                break
            self._next = None
            if row.left:
                continue
            if self._rows and not self._has_room(row):
                self._next = row
                break
            self._let_in(row)
        self._drop([row for row in self._rows if row.left or row.finish])
        if self._rows:
            self._step()

    def _has_room(self, row: Row) -> bool:
        """Would all of them, padded to the longest they may become, still be within the context?"""
        rows = [*self._rows, row]
        return len(rows) * max(len(r.prompt) + r.wish.max_tokens for r in rows) <= self._tokens

    def _let_in(self, row: Row) -> None:
        try:
            if self._together:
                self._read(row)
            else:
                self._alone(row)
        except Exception as trouble:  # noqa: BLE001 - of this row alone
            traceback.print_exception(trouble)
            row.tell(trouble)

    # -- together --

    def _read(self, row: Row) -> None:
        import torch

        tokens = torch.tensor([row.prompt], device=self._model.device)
        cache = None
        for start in range(0, tokens.shape[1], _READ):
            if row.left:
                return
            piece = tokens[:, start : start + _READ]
            read = self._model(input_ids=piece, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache = read.past_key_values
        row.choose(_plain(read.logits[0, -1]))
        if row.finish:
            return
        mask = torch.ones_like(tokens)
        if not self._rows:
            self._cache, self._mask = read.past_key_values, mask
        else:
            self._lay_beside(read.past_key_values, mask)
        self._rows.append(row)

    def _lay_beside(self, cache: Any, mask: Any) -> None:
        import torch

        length = max(self._mask.shape[1], mask.shape[1])

        def pad(tensor: Any, dim: int) -> Any:
            missing = length - tensor.shape[dim]
            after = (0, 0) if dim == 2 else ()
            return torch.nn.functional.pad(tensor, (*after, missing, 0)) if missing else tensor

        for mine, its in zip(self._cache.layers, cache.layers, strict=True):
            mine.keys = torch.cat([pad(mine.keys, 2), pad(its.keys, 2)])
            mine.values = torch.cat([pad(mine.values, 2), pad(its.values, 2)])
        self._mask = torch.cat([pad(self._mask, 1), pad(mask, 1)])

    def _drop(self, gone: Sequence[Row]) -> None:
        if not gone:
            return
        import torch

        kept = [index for index, row in enumerate(self._rows) if row not in gone]
        self._rows = [self._rows[index] for index in kept]
        if not self._rows or not self._together:
            self._cache = self._mask = None
            return
        chosen = torch.tensor(kept, device=self._mask.device)
        mask = self._mask[chosen]
        empty = int(mask.shape[1] - mask.sum(1).max())  # columns on the left that are padding for all who stay
        self._mask = mask[:, empty:]
        for layer in self._cache.layers:
            layer.keys, layer.values = layer.keys[chosen, :, empty:], layer.values[chosen, :, empty:]

    def _step(self) -> None:
        import torch

        last = torch.tensor([[row.tokens[-1]] for row in self._rows], device=self._mask.device)
        places = self._mask.sum(1, keepdim=True)
        self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=1)
        alone = len(self._rows) == 1 and bool(self._mask.all())  # no padding: the kernels without a mask are faster
        made = self._model(
            input_ids=last,
            attention_mask=None if alone else self._mask,
            position_ids=places,
            past_key_values=self._cache,
            use_cache=True,
        )
        for row, logits in zip(self._rows, made.logits[:, -1], strict=True):
            row.choose(_plain(logits))

    # -- one after the other --

    def _alone(self, row: Row) -> None:
        """Through the library's own loop: our row looks at the scores and says the token."""
        import torch
        from transformers import LogitsProcessor, StoppingCriteria

        class Chooser(LogitsProcessor):  # type: ignore[misc,unused-ignore]
            def __call__(self, input_ids: Any, scores: Any) -> Any:
                if row.left:
                    return scores
                token = row.choose(_plain(scores[0]))
                chosen = torch.full_like(scores, -torch.inf)
                chosen[0, token] = 0
                return chosen

        class Ender(StoppingCriteria):  # type: ignore[misc,unused-ignore]
            def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
                over = row.left or row.finish is not None
                return torch.full((input_ids.shape[0],), over, device=input_ids.device)

        inputs = row.inputs or {"input_ids": torch.tensor([row.prompt])}
        inputs = {k: v.to(self._model.device) if hasattr(v, "to") else v for k, v in inputs.items()}
        self._model.generate(
            **inputs, max_new_tokens=row.wish.max_tokens, do_sample=False, num_beams=1, eos_token_id=None,
            logits_processor=[Chooser()], stopping_criteria=[Ender()], repetition_penalty=1.0,
        )  # fmt: skip


def _plain(scores: Any) -> Any:
    """Scores as rows read them: numpy, float32."""
    return scores.float().cpu().numpy()
