"""Going on with a conversation after its model slept or the house was closed reads only what is new, with the same
answer; whatever is wrong with a file on disk is a clean miss."""

from __future__ import annotations

import asyncio
import json
import stat
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from domicile.answering import Ask, whole
from domicile.app import House, open_house
from domicile.config import load
from domicile.conversation_store import ConversationStore, State, binding, common

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"
Message = dict[str, Any]
SYSTEM: Message = {"role": "system", "content": "Tu es graine. " * 200}
QUESTIONS = (
    "Bonjour, qui es-tu ?",
    "Qu'est-ce qu'un GGUF ?",
    "Qu'est-ce qu'une quantification ?",
    "Qu'est-ce qu'un jeton ?",
    "Qu'est-ce que le contexte ?",
    "Quel modèle pour 8 Go de RAM ?",
)
FIRST = [SYSTEM, {"role": "user", "content": "Qu'est-ce qu'un GGUF ?"}]


@dataclass
class Said:
    text: str
    prompt: int
    cached: int

    @property
    def read(self) -> int:
        return self.prompt - self.cached


async def _ask(house: House, messages: list[Message], **more: Any) -> Said:
    body = {"model": "graine", "messages": messages, "temperature": 0, "max_tokens": 24, **more}
    async with house.answer(Ask("graine", CHAT, json.dumps(body).encode())) as answer:
        said = json.loads(await whole(answer.reply.body))
    usage = said["usage"]
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    return Said(said["choices"][0]["message"]["content"], usage["prompt_tokens"], cached)


@asynccontextmanager
async def _house(**given: Any) -> AsyncIterator[House]:
    async with open_house(load(**given)) as house:
        yield house


def _kept(house: House) -> list[Path]:
    return sorted(house.settings.conversations.glob("*/*.kv"))


def _going_on(answer: str) -> list[Message]:
    return [*FIRST, {"role": "assistant", "content": answer}, {"role": "user", "content": "Et un jeton ?"}]


async def _first() -> str:
    """A first question, in a house that is closed afterwards."""
    async with _house() as house:
        said = await _ask(house, FIRST)
        assert said.cached == 0
        assert said.prompt > 300
    return said.text


# -- going on --


async def test_going_on_after_a_restart_reads_only_what_is_new_and_answers_the_same() -> None:
    async with _house() as house:
        talk: list[Message] = []
        for question in QUESTIONS:
            talk.append({"role": "user", "content": question})
            said = await _ask(house, talk, max_tokens=80)
            never_closed, before = said, list(talk)
            talk.append({"role": "assistant", "content": said.text})
    async with _house(conversation_cache=0) as house:
        cold = await _ask(house, before, max_tokens=80)
        assert cold.cached == 0
        assert cold.prompt > 256
    async with _house() as house:
        warm = await _ask(house, before, max_tokens=80)
        assert warm.text == cold.text == never_closed.text
        assert warm.prompt == cold.prompt
        assert warm.read < 40
        last = await _ask(house, [*talk, {"role": "user", "content": "Merci !"}], max_tokens=80)
        assert last.read < 60


async def test_going_on_after_its_model_slept_reads_only_what_is_new() -> None:
    async with _house() as house:
        first = await _ask(house, FIRST)
        await house.runner.sleep("graine")
        again = await _ask(house, _going_on(first.text))
    assert again.read < 40


async def test_a_conversation_that_goes_on_replaces_what_it_goes_on_from() -> None:
    first = await _first()
    async with _house() as house:
        await _ask(house, _going_on(first))
        await house.runner.sleep("graine")
        assert len(_kept(house)) == 1


async def test_each_conversation_is_kept_and_their_shared_instructions_once_for_those_to_come() -> None:
    other = [SYSTEM, {"role": "user", "content": "How much memory does a model take?"}]
    new = [SYSTEM, {"role": "user", "content": "Que fait Domicile ?"}]
    async with _house() as house:
        for messages in (FIRST, other):
            await _ask(house, messages)
            await house.runner.sleep("graine")
        states = [s for f in house.settings.conversations.glob("*/") for s in house.conversations.store.states(f)]
        assert sorted(s.shared for s in states) == [False, False, True]
        for state in states:
            if not state.shared:
                house.conversations.store.remove(state)
        third = await _ask(house, new)
    assert 0 < third.read < 30


async def test_two_conversations_in_turn_are_both_gone_on_with_after_a_restart() -> None:
    other = [{"role": "user", "content": "Compte. " + " ".join(str(n) for n in range(400))}]
    async with _house() as house:
        house.conversations._idle_s = 0
        one = await _ask(house, FIRST)
        await _until(lambda: len(_kept(house)) == 1)
        two = await _ask(house, other)
    async with _house() as house:
        later = [{"role": "assistant", "content": two.text}, {"role": "user", "content": "Encore"}]
        assert (await _ask(house, [*other, *later])).read < 60
        assert (await _ask(house, _going_on(one.text))).read < 60


async def test_what_was_read_is_kept_once_nobody_asks_any_more() -> None:
    async with _house() as house:
        house.conversations._idle_s = 0
        await _ask(house, FIRST)
        await _until(lambda: len(_kept(house)) == 1)
        assert house.runner.ps()[0].state == "awake"


async def test_a_short_conversation_is_not_kept() -> None:
    async with _house() as house:
        await _ask(house, [{"role": "user", "content": "Bonjour"}])
        await house.runner.sleep("graine")
        assert _kept(house) == []


async def test_with_several_slots_every_conversation_is_gone_on_with() -> None:
    other = [{"role": "user", "content": "Compte. " + " ".join(str(n) for n in range(400))}]
    async with _house(slots=2, context=2048) as house:
        one, two = await asyncio.gather(_ask(house, FIRST), _ask(house, other))
    async with _house(slots=2, context=2048) as house:
        assert len(_kept(house)) == 2
        later = [{"role": "assistant", "content": two.text}, {"role": "user", "content": "Encore"}]
        assert (await _ask(house, [*other, *later])).read < 60
        assert (await _ask(house, _going_on(one.text))).read < 60


# -- whatever is wrong is a clean miss --


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _other(path: Path) -> None:
    path.write_bytes(b"GGUF" + bytes(path.stat().st_size - 4))


def _gone(path: Path) -> None:
    path.unlink()


def _line_cut(path: Path) -> None:
    _cut(path.with_suffix(".json"))


def _line_foreign(path: Path) -> None:
    path.with_suffix(".json").write_text('{"form": 1, "tokens": ["x"], "sha256": 3}')


def _line_lies(path: Path) -> None:
    line = path.with_suffix(".json")
    said = json.loads(line.read_text())
    line.write_text(json.dumps({**said, "size_bytes": 10, "tokens": said["tokens"]}))


async def test_a_damaged_file_is_a_clean_miss_and_is_removed() -> None:
    """A cut file kills the engine that is given it: the child that answers is the one that was woken."""
    async with _house() as house:
        first = (await _ask(house, FIRST)).text
        await house.runner.sleep("graine")
        (path,) = _kept(house)
        whole_state = {p: p.read_bytes() for p in (path, path.with_suffix(".json"))}
        for damage in (None, _cut, _flip, _other, _gone, _line_cut, _line_foreign, _line_lies):
            await house.conversations.clear()
            for place, content in whole_state.items():
                place.parent.mkdir(exist_ok=True)
                place.write_bytes(content)
            if damage is not None:
                damage(path)
            again = await _ask(house, _going_on(first))
            assert (again.cached > 0) is (damage is None), damage
            assert path.exists() is path.with_suffix(".json").exists() is (damage is None), damage
            assert [p.state for p in house.runner.ps()] == ["awake"]
            await house.runner.sleep("graine")


@pytest.mark.parametrize("given", [{"context": 2048}, {"slots": 2}], ids=["context", "slots"])
async def test_a_state_of_other_parameters_is_not_used(given: dict[str, Any]) -> None:
    first = await _first()
    async with _house(**given) as house:
        assert (await _ask(house, _going_on(first))).cached == 0


def test_the_binding_tells_models_parameters_and_builds_apart(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(bytes(5 << 20))
    two.write_bytes(bytes(5 << 20))
    plain = {"n_ctx": 4096, "type_k": "f16", "build": "llama 1"}
    seen = {binding([one], plain)}
    for other in ({**plain, "n_ctx": 8192}, {**plain, "type_k": "q8_0"}, {**plain, "build": "llama 2"}):
        seen.add(binding([one], other))
    seen.add(binding([two], plain))
    two.write_bytes(bytes(5 << 20) + b"x")
    seen.add(binding([two], plain))
    assert len(seen) == 6
    assert binding([one], plain) in seen


# -- the store --


def _state(tokens: list[int], body: bytes = b"") -> bytes:
    return b"qsgg" + struct.pack(f"<II{len(tokens)}i", 3, len(tokens), *tokens) + body


def _keep(store: ConversationStore, folder: Path, tokens: list[int], size: int = 1000, **more: Any) -> State | None:
    (folder / "x.part").write_bytes(_state(tokens, bytes(size)))
    return store.keep(folder, "x.part", "m", **more)


def test_the_store_stays_within_its_limit_and_the_least_recently_used_go_first(tmp_path: Path) -> None:
    store = ConversationStore(tmp_path / "c", 5000)
    folder = store.open("m", "b" * 64)
    kept = [_keep(store, folder, [n] * 10) for n in range(4)]
    assert all(kept)
    first = kept[0]
    assert first is not None
    assert store.whole(first)
    for number in range(10, 13):
        _keep(store, folder, [number] * 10)
    total = sum(p.stat().st_size for p in folder.glob("*.kv"))
    assert total <= 5000
    assert first.path.exists() or len(list(folder.glob("*.kv"))) == 4
    assert _keep(store, folder, [7] * 10, size=6000) is None
    assert not list(folder.glob("*.part"))


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    store = ConversationStore(tmp_path / "c", 5000)
    folder = store.open("org/model:Q4", "b" * 64)
    state = _keep(store, folder, [1, 2, 3])
    assert state is not None
    for path in (state.path, state.line):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert folder.parent == tmp_path / "c"


def test_what_an_engine_wrote_that_we_do_not_understand_is_not_kept(tmp_path: Path) -> None:
    store = ConversationStore(tmp_path / "c", 5000)
    folder = store.open("m", "b" * 64)
    for content in (b"", b"nonsense" * 100, b"qsgg" + struct.pack("<II", 3, 1 << 31), _state([-1, 1, 900, 5])):
        (folder / "x.part").write_bytes(content)
        assert store.keep(folder, "x.part", "m") is None
    packed = store.keep(folder, "x.part", "m")
    assert packed is None
    assert list(folder.iterdir()) == []


def test_the_tokens_of_both_layouts_are_read(tmp_path: Path) -> None:
    store = ConversationStore(tmp_path / "c", 5000)
    folder = store.open("m", "b" * 64)
    plain = _keep(store, folder, [5, 6, 7])
    packed = _keep(store, folder, [-1, 1, 2, 8, 9, 0])
    assert plain is not None
    assert list(plain.tokens) == [5, 6, 7]
    assert packed is not None
    assert list(packed.tokens) == [8, 9]


def test_common_counts_the_tokens_two_prompts_begin_with() -> None:
    assert common([1, 2, 3], [1, 2, 4]) == 2
    assert common([1, 2], [1, 2, 4]) == 2
    assert common([], [1]) == 0
    assert common([3], [1]) == 0


# -- what a person sees and can do --


async def test_nothing_is_written_when_it_is_turned_off() -> None:
    async with _house(conversation_cache=0) as house:
        await _ask(house, FIRST)
        await house.runner.sleep("graine")
        assert not house.settings.conversations.exists()


async def test_what_was_read_goes_with_its_model(tmp_path: Path) -> None:
    file = tmp_path / "copy.gguf"
    async with _house() as house:
        file.write_bytes(house.library.get("graine").path.read_bytes())
        house.library.add_file(file)
        body = json.dumps({"model": "copy", "messages": FIRST, "max_tokens": 4}).encode()
        async with house.answer(Ask("copy", CHAT, body)) as answer:
            await whole(answer.reply.body)
        await house.runner.sleep("copy")
        assert len(_kept(house)) == 1
        await house.remove("copy")
        assert _kept(house) == []


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)
