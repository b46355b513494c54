"""The room of conversations: what was said is kept here, and answers are written here, whoever listens.

Two stores of one shape: `chats.db` with a folder of files, and memory for temporary chats, whose ids say so. Knows how
answers are asked for (`Answering`), not who gives them; no HTTP face.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from filelock import FileLock, Timeout

from domicile.chats import foreign, reading, shapes
from domicile.chats.feed import Event, Feed
from domicile.chats.files import Files, Folder, InMemory
from domicile.chats.holdings import Attachments, Folders, Presets
from domicile.chats.prompt import prompt_of
from domicile.chats.schema import STEPS
from domicile.chats.store import Page, Store, walk
from domicile.chats.wanted import MODELS_AT_ONCE, Placed, Wanted, options, placed
from domicile.chats.words import OWNER, TEMPORARY, Attachment, Chat, Message, new_id, newest_leaf, path_to, title_of
from domicile.chats.writing import Answering, Presence, Task, Writers
from domicile.config import Settings, seconds
from domicile.db import Database
from domicile.errors import AnswerUnderWay, AttachmentNotFound, BadField

TEMPORARY_CHATS = 64
TEMPORARY_BYTES = 128 << 20

__all__ = ["OWNER", "Chats", "Presence", "Wanted", "Whole"]


@dataclass(frozen=True, slots=True)
class Whole:
    """A chat with all its messages, as they are at this moment."""

    chat: Chat
    messages: dict[str, Message]


class _Desk:
    """One place to keep things: on disk, or in memory."""

    def __init__(self, database: Database, files: Files) -> None:
        self.database = database
        self.store = Store(database)
        self.attachments = Attachments(database, files)
        self.files = files


class Chats:
    """One for a house; opened when somebody asks for it."""

    def __init__(
        self,
        settings: Settings,
        answering: Answering,
        presence: Callable[[str], Presence | None],
        check_name: Callable[[str], Awaitable[None]],
        usual_model: Callable[[], str],
    ) -> None:
        database = Database(settings.chats, STEPS, private=True)
        database.read("PRAGMA secure_delete=ON")
        self.set_aside = database.set_aside
        """Where a damaged file of chats was put; None when there was none."""
        files = Folder(settings.attachments_folder, settings.attachments)
        self._kept = _Desk(database, files)
        self._memory = _Desk(Database.in_memory(STEPS), InMemory(TEMPORARY_BYTES))
        self.folders, self.presets = Folders(database), Presets(database)
        self._writers = Writers(
            answering, self._save, presence, context=settings.context, limit_s=settings.answer_limit
        )
        self._check_name = check_name
        self._usual_model = usual_model
        self._feeds: dict[str, Feed] = {}
        self._lists: dict[str, Feed] = {}
        self._of_message: dict[str, Chat] = {}
        """The chats of the answers that are being written."""
        self._lock = FileLock(settings.chats.with_name(settings.chats.name + ".writer"))
        self._tidy(files)

    def _tidy(self, files: Folder) -> None:
        """What a house that was killed left: answers, files half sent. Not while another house writes."""
        with contextlib.suppress(Timeout):
            self._lock.acquire(timeout=0)
            self._kept.store.mend()
            self._kept.attachments.sweep()
            files.sweep()
            for digest in files.kept() - self._kept.attachments.digests():
                files.drop(digest)

    async def close(self) -> None:
        """End the answers, which keep what they have said, and let the watchers go."""
        await self._writers.close()
        for feed in (*self._feeds.values(), *self._lists.values()):
            feed.end()
        self._memory.database.close()
        self._kept.database.close()
        self._lock.release()

    def _desk(self, some_id: str) -> _Desk:
        return self._memory if some_id.startswith(TEMPORARY) else self._kept

    # -- chats --

    def page(self, said: str | None, owner: str = OWNER, **filters: Any) -> Page:
        """A page of the list, or of what has the words `said`."""
        store = self._kept.store
        return store.find(said, owner, **filters) if said is not None else store.page(owner, **filters)

    def create(self, values: Mapping[str, Any], owner: str = OWNER, *, temporary: bool = False) -> Chat:
        """A new chat, of `title`, `folder`, `model`, `system`, `parameters`, `strategy`, `pinned`; `preset` gives those
        of a preset first. A temporary one is in no list, and nowhere but in memory."""
        given = dict(values)
        preset = given.pop("preset", None)
        if preset is not None:
            found = self.presets.get(preset, owner)
            given = {**{k: getattr(found, k) for k in ("model", "system", "parameters")}, **given}
        self._check(given, owner, temporary=temporary)
        now = time.time()
        title = given.pop("title", None) or ""
        given["parameters"] = given.get("parameters") or {}
        made = Chat(new_id("chat", temporary=temporary), title, now, now, titled=bool(title), owner=owner, **given)
        self._desk(made.id).store.add(made)
        if temporary:
            self._forget_oldest()
        self._tell_list(made)
        return made

    def whole(self, chat_id: str, owner: str = OWNER) -> Whole:
        """A chat and its messages, those that are being written as they stand. Raises `ChatNotFound`."""
        store = self._desk(chat_id).store
        chat, messages = store.get(chat_id, owner), store.messages(chat_id)
        for message in messages.values():
            writing = self._writers.get(message.id)
            if writing is not None:
                messages[message.id] = writing.told()
        return Whole(chat, messages)

    def statuses(self, chat_id: str) -> list[dict[str, Any]]:
        """What each answer of this chat that is being written waits for."""
        mine = (self._writers.get(message_id) for message_id, chat in self._of_message.items() if chat.id == chat_id)
        return [dict(writing.status) for writing in mine if writing is not None and "message" in writing.status]

    def writes(self, chat_id: str) -> bool:
        """Is an answer of this chat being written?"""
        return any(chat.id == chat_id for chat in self._of_message.values())

    def change(self, chat_id: str, values: Mapping[str, Any], owner: str = OWNER) -> Chat:
        """Change what is given. `leaf` shows the newest branch through a message. Raises `ChatNotFound`."""
        given, store = dict(values), self._desk(chat_id).store
        store.get(chat_id, owner)
        self._check(given, owner, temporary=chat_id.startswith(TEMPORARY))
        if "title" in given:
            given["titled"] = bool(given["title"])
            if not given["title"]:
                given["title"] = _first_title(store.messages(chat_id))
        if given.get("leaf") is not None:
            store.message(chat_id, given["leaf"])
            given["leaf"] = newest_leaf(store.messages(chat_id), given["leaf"])
        changed = store.change(chat_id, owner, **given)
        self._tell(changed, "chat", changed)
        self._tell_list(changed)
        return changed

    def _check(self, given: Mapping[str, Any], owner: str, *, temporary: bool) -> None:
        folder = given.get("folder")
        if folder is not None:
            if temporary:
                raise BadField(field="folder", problem=str(folder)[:80], reason="chat_temporary")
            self.folders.get(folder, owner)

    async def remove(self, chat_ids: Sequence[str], owner: str = OWNER) -> tuple[list[str], int]:
        """Delete chats, their answers stopped first. Those that were there, and the bytes freed of attachments."""
        gone: list[str] = []
        freed = 0
        for message_id, chat in list(self._of_message.items()):
            if chat.id in chat_ids and chat.owner == owner:
                await self._writers.stop(message_id, "gone")
        for desk in (self._kept, self._memory):
            mine = [i for i in chat_ids if self._desk(i) is desk]
            if mine:
                removed, attachments = desk.store.remove(mine, owner)
                gone += removed
                freed += desk.attachments.release(attachments)
        for chat_id in gone:
            feed = self._feeds.pop(chat_id, None)
            if feed is not None:
                feed.tell("removed", {"id": chat_id})
                feed.end()
            self._list_feed(owner).tell("removed", {"id": chat_id})
        return gone, freed

    def ids(self, owner: str = OWNER) -> list[str]:
        """Every kept chat."""
        return self._kept.store.ids(owner)

    def _forget_oldest(self) -> None:
        """Temporary chats that nobody closed: the oldest go when there are too many."""
        store = self._memory.store
        rows = self._memory.database.read("SELECT id, owner FROM chats ORDER BY updated_at DESC, number DESC")
        for row in rows[TEMPORARY_CHATS:]:
            if not self.writes(row["id"]):
                _, attachments = store.remove([row["id"]], row["owner"])
                self._memory.attachments.release(attachments)

    # -- messages --

    def say(self, chat_id: str, messages: Sequence[Mapping[str, Any]], owner: str = OWNER) -> list[Message]:
        """Add what was said elsewhere to the branch that is shown: `role`, `text`, and the facts that are known."""
        whole = self.whole(chat_id, owner)
        parent, made = whole.chat.leaf, list[Message]()
        for said in messages:
            one = Message(
                new_id("message", temporary=whole.chat.temporary),
                parent,
                said["role"],
                said["text"],
                time.time(),
                reasoning=said.get("reasoning") or "",
                facts=said.get("facts") or {},
            )
            made.append(one)
            parent = one.id
        self._add(whole, made, parent)
        return made

    def edit(self, chat_id: str, message_id: str, text: str, owner: str = OWNER) -> Message:
        """Change the words of a message where it stands. Raises `AnswerUnderWay` while it is written."""
        desk = self._desk(chat_id)
        chat = desk.store.get(chat_id, owner)
        before = desk.store.message(chat_id, message_id)
        self._not_writing(chat, message_id)
        after = replace(before, text=text, state="done", facts={**before.facts, "edited_at": time.time()})
        desk.store.save(after)
        self._tell(chat, "message", after)
        return after

    async def forget(self, chat_id: str, message_id: str, owner: str = OWNER) -> tuple[list[str], int]:
        """Delete a message and all that followed from it: which, and the bytes freed of attachments."""
        desk = self._desk(chat_id)
        desk.store.get(chat_id, owner)
        below = {message_id}
        for message in desk.store.messages(chat_id).values():
            if message.parent in below:
                below.add(message.id)
        for one in below:
            await self._writers.stop(one, "gone")
        gone, attachments = desk.store.forget(chat_id, message_id)
        chat = desk.store.get(chat_id, owner)
        self._tell(chat, "forgotten", {"messages": gone, "leaf": chat.leaf})
        return gone, desk.attachments.release(attachments)

    def fork(self, chat_id: str, message_id: str | None, owner: str = OWNER) -> Chat:
        """A new chat that begins with a branch of this one, up to a message (the one shown, where none is named)."""
        whole, desk = self.whole(chat_id, owner), self._desk(chat_id)
        if message_id is not None:
            desk.store.message(chat_id, message_id)
        now, names = time.time(), dict[str, str]()
        copied: list[Message] = []
        for message in path_to(whole.messages, message_id or whole.chat.leaf):
            names[message.id] = new_id("message", temporary=whole.chat.temporary)
            parent = names.get(message.parent or "")
            state = "cut" if message.state == "writing" else message.state
            copied.append(replace(message, id=names[message.id], parent=parent, state=state))
        leaf = copied[-1].id if copied else None
        made = new_id("chat", temporary=whole.chat.temporary)
        fork = replace(whole.chat, id=made, created_at=now, updated_at=now, pinned=False, leaf=leaf)
        desk.store.add(fork, copied)
        self._tell_list(fork)
        return fork

    # -- answers --

    async def answer(self, chat_id: str, wanted: Wanted, owner: str = OWNER) -> Placed:
        """Begin to write what is wanted; it goes on whoever listens. Raises `ChatNotFound`, `ModelNotFound` and what
        `wanted.placed` says."""
        desk = self._desk(chat_id)
        models = wanted.models or (self._model_of(chat_id, wanted, owner),)
        if len(models) > MODELS_AT_ONCE:
            raise BadField(field="models", problem=str(len(models)), reason="range", low=1, high=MODELS_AT_ONCE)
        for model in models:
            await self._check_name(model)
        whole = self.whole(chat_id, owner)
        found = placed(whole.chat, whole.messages, wanted, models)
        if wanted.action == "continue":
            desk.store.save(found.writing[0])
            self._tell(whole.chat, "message", found.writing[0])
        else:
            self._add(whole, found.new, found.writing[0].id)
        messages = {**whole.messages, **{m.id: m for m in (*found.new, *found.writing)}}
        branch = path_to(messages, found.ends_with)
        chosen = {**whole.chat.parameters, **wanted.parameters}
        body, said = options(chosen, goes_on=wanted.action == "continue")
        strategy = wanted.strategy or whole.chat.strategy
        if strategy is not None:
            said["strategy"] = strategy
        keep_alive = seconds(chosen["keep_alive"]) if chosen.get("keep_alive") is not None else None
        prompt = partial(_prompt, branch, whole.chat.system, desk)
        for message, model in zip(found.writing, models, strict=True):
            self._of_message[message.id] = whole.chat
            task = Task(message, model, body, said, prompt, keep_alive)
            self._writers.start(task, partial(self._tell, whole.chat), partial(self._over, message.id, chat_id, owner))
        self._tell_list(desk.store.get(chat_id, owner))
        return found

    async def stop(self, chat_id: str, message_id: str | None = None, owner: str = OWNER) -> list[str]:
        """Stop one answer of a chat, or all; what they have said stays. Which were stopped."""
        self._desk(chat_id).store.get(chat_id, owner)
        mine = [i for i, chat in self._of_message.items() if chat.id == chat_id and message_id in {None, i}]
        return [i for i in mine if await self._writers.stop(i)]

    def _model_of(self, chat_id: str, wanted: Wanted, owner: str) -> str:
        """Who answers where nobody is named: of an answer that goes on, whoever began it."""
        store = self._desk(chat_id).store
        chat = store.get(chat_id, owner)
        if wanted.action == "continue" and wanted.message is not None:
            began = store.message(chat_id, wanted.message).facts
            if began.get("model") and began.get("served_by", "home") == "home":
                return str(began["model"])
        return chat.model or self._usual_model()

    def _add(self, whole: Whole, messages: Sequence[Message], leaf: str | None) -> None:
        chat = whole.chat
        first = next((m for m in messages if m.role == "user"), None)
        title = title_of(first.text, first.attachments) if first and not chat.title else None
        store = self._desk(chat.id).store
        store.say(chat.id, messages, leaf=leaf, title=title)
        for message in messages:
            self._tell(chat, "message", message)
        changed = store.get(chat.id, chat.owner)
        self._tell(chat, "chat", changed)
        self._tell_list(changed)

    def _over(self, message_id: str, chat_id: str, owner: str) -> None:
        """An answer has ended."""
        self._of_message.pop(message_id, None)
        with contextlib.suppress(Exception):  # the chat may be gone, and the house closing
            self._tell_list(self._desk(chat_id).store.get(chat_id, owner))
        self._drop_feed(chat_id)

    def _save(self, message: Message) -> None:
        self._desk(message.id).store.save(message)

    def _not_writing(self, chat: Chat, message_id: str) -> None:
        if message_id in self._of_message:
            raise AnswerUnderWay(id=chat.id)

    # -- listening --

    async def follow(self, chat_id: str, after: int | None, owner: str = OWNER) -> AsyncIterator[Event]:
        """What happens in a chat: first all of it, or what came after an event. Raises `ChatNotFound`."""
        self._desk(chat_id).store.get(chat_id, owner)
        feed = self._feeds.setdefault(chat_id, Feed())
        try:
            async for event in feed.follow(after, lambda: self.whole(chat_id, owner)):
                yield event
        finally:
            self._drop_feed(chat_id)

    async def follow_list(self, after: int | None, owner: str = OWNER) -> AsyncIterator[Event]:
        """Which chats come, change, are answered and go. Its snapshot is None: the list is read page by page."""
        async for event in self._list_feed(owner).follow(after, lambda: None):
            yield event

    def _list_feed(self, owner: str) -> Feed:
        return self._lists.setdefault(owner, Feed())

    def _drop_feed(self, chat_id: str) -> None:
        feed = self._feeds.get(chat_id)
        if feed is not None and not feed.followers and not self.writes(chat_id):
            del self._feeds[chat_id]

    def _tell(self, chat: Chat, name: str, data: Any) -> None:
        if chat.id in self._feeds or self.writes(chat.id):
            self._feeds.setdefault(chat.id, Feed()).tell(name, data)

    def _tell_list(self, chat: Chat) -> None:
        if not chat.temporary:
            self._list_feed(chat.owner).tell("chat", chat)

    # -- files --

    async def attach(self, data: bytes, name: str, owner: str = OWNER, *, temporary: bool = False) -> Attachment:
        """Keep a file for a message to come. Raises `AttachmentRefused`, `AttachmentsFull`."""
        made = await reading.read(data, name, temporary=temporary, owner=owner)
        return self._desk(made.id).attachments.keep(made, data)

    def attachment(self, attachment_id: str, owner: str = OWNER) -> Attachment:
        """Raises `AttachmentNotFound`."""
        return self._desk(attachment_id).attachments.get(attachment_id, owner)

    def attachment_data(self, attachment: Attachment) -> bytes:
        """Raises `AttachmentNotFound` when its file is gone."""
        return self._desk(attachment.id).attachments.data(attachment)

    def write_down(self, attachment_id: str, text: str, owner: str = OWNER) -> Attachment:
        """What is heard or seen in a file, as a text."""
        return self._desk(attachment_id).attachments.write_down(attachment_id, text, owner)

    def detach(self, attachment_id: str, owner: str = OWNER) -> tuple[Attachment, int]:
        """Forget a file that no message has (yet): what it was, and the bytes freed (0 where one has it)."""
        found = self.attachment(attachment_id, owner)
        return found, self._desk(attachment_id).attachments.release([attachment_id])

    def named_files(self, chat_id: str, ids: Sequence[str], owner: str = OWNER) -> tuple[Attachment, ...]:
        """The attachments of a message to come. A file of a temporary chat stays in temporary chats."""
        for one in ids:
            if one.startswith(TEMPORARY) != chat_id.startswith(TEMPORARY):
                raise AttachmentNotFound(id=one[:80], reason="elsewhere")
        return tuple(self.attachment(one, owner) for one in ids)

    # -- in and out --

    def export(self, chat_ids: Sequence[str] | None, owner: str = OWNER, *, files: bool = True) -> Iterator[str]:
        """Our JSON, piece by piece: these chats, or all of them with folders and presets."""
        folders, presets = self.folders.list(owner), self.presets.list(owner)
        everything = chat_ids is None
        wholes = (self.whole(i, owner) for i in chat_ids or ())
        said = walk(self._kept.store, owner) if everything else ((w.chat, list(w.messages.values())) for w in wholes)
        used: dict[str, Attachment] = {}
        named = {f.id: {"id": f.id, "name": f.name} for f in folders}
        if not everything:
            of = {self.whole(i, owner).chat.folder for i in chat_ids or ()}
            named, presets = {k: v for k, v in named.items() if k in of}, []
        start = json.dumps(shapes.head(list(named.values()), [p.public() for p in presets]), ensure_ascii=False)
        yield start[:-1] + ', "chats": ['
        for number, (chat, messages) in enumerate(said):
            used |= {a.id: a for m in messages for a in m.attachments}
            yield (",\n" if number else "\n") + json.dumps(shapes.chat_out(chat, messages), ensure_ascii=False)
        yield '],\n"attachments": ['
        for number, attachment in enumerate(used.values()):
            data = None
            if files:
                with contextlib.suppress(AttachmentNotFound):
                    data = self.attachment_data(attachment)
            told = json.dumps(shapes.attachment_out(attachment, data), ensure_ascii=False)
            yield (",\n" if number else "\n") + told
        yield "]}\n"

    def take_in(self, data: object, owner: str = OWNER) -> dict[str, Any]:
        """Add the chats of a file, ours or another tool's. Which were added, which are here already, which cannot be
        read. Raises `BadField` for a file that is none."""
        came = foreign.read(data)
        folders = self._folders_for(came.folders, owner)
        for preset in came.presets:
            with contextlib.suppress(BadField):  # one of that name is here
                self.presets.add(preset, owner)
        added, present = list[Chat](), list[str]()
        kept: dict[str, Attachment] = {}
        for chat, messages in came.chats:
            if self._kept.store.has(chat.id):
                present.append(chat.id)
                continue
            if self._kept.store.known([m.id for m in messages]):
                chat, messages = _renamed(chat, messages)  # noqa: PLW2901
            told = [replace(m, attachments=tuple(self._taken(a, came, kept, owner) for a in m.attachments))
                    for m in messages]  # fmt: skip
            folder = folders.get(chat.folder) if chat.folder else None
            made = replace(chat, owner=owner, folder=folder)
            added.append(self._kept.store.add(made, told, durable=False))
        self._list_feed(owner).tell("imported", {"chats": len(added)})
        left = [{"what": what, "problem": problem} for what, problem in came.left_out]
        return {"added": added, "present": present, "left_out": left}

    def _folders_for(self, names: Mapping[str, str], owner: str) -> dict[str, str]:
        """Folders here for those of a file, by their names."""
        here = {f.name.casefold(): f.id for f in self.folders.list(owner)}
        found: dict[str, str] = {}
        for folder_id, name in names.items():
            if name.casefold() not in here:
                here[name.casefold()] = self.folders.add(name, owner).id
            found[folder_id] = here[name.casefold()]
        return found

    def _taken(self, said: Attachment, came: shapes.Came, kept: dict[str, Attachment], owner: str) -> Attachment:
        if said.id not in kept:
            _, data = came.files[said.id]
            taken = self._kept.attachments.has(said.id)
            fresh = replace(said, owner=owner, id=new_id("file") if taken else said.id)
            kept[said.id] = self._kept.attachments.keep(fresh, data)
        return kept[said.id]


def _prompt(branch: Sequence[Message], system: str | None, desk: _Desk, room: int) -> Any:
    return prompt_of(branch, system, room, lambda a: desk.files.read(a.digest))


def _first_title(messages: Mapping[str, Message]) -> str:
    first = next((m for m in messages.values() if m.role == "user"), None)
    return title_of(first.text, first.attachments) if first else ""


def _renamed(chat: Chat, messages: Sequence[Message]) -> tuple[Chat, list[Message]]:
    """The same under ids that nobody has: its messages are here already, in another chat."""
    names = {m.id: new_id("message") for m in messages}
    told = [replace(m, id=names[m.id], parent=names[m.parent] if m.parent else None) for m in messages]
    leaf = names.get(chat.leaf or "")
    return replace(chat, leaf=leaf), told
