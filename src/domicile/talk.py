"""A conversation in a terminal: questions typed, answers as they come, Ctrl-C for the answer and not for the session.

Knows the terminal and the client; the house keeps nothing of it unless it is asked to (`save`).
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from domicile.client import Client, HouseSaid
from domicile.output import Output, clean

Message = dict[str, Any]


class Talk:
    """One conversation with one model."""

    def __init__(
        self,
        client: Client,
        output: Output,
        model: str,
        system: str | None,
        options: Mapping[str, Any],
        *,
        save: bool = False,
    ) -> None:
        self._client = client
        self._output = output
        self._model = model
        self._system = system
        self._options = options
        self._messages: list[Message] = []
        self._served_by = "home"
        self._save = save
        self._chat: str | None = None
        """Where this conversation is kept."""
        self._clear()

    def _clear(self) -> None:
        self._chat = None
        self._messages = [{"role": "system", "content": self._system}] if self._system else []

    async def once(self, prompt: str) -> None:
        """Answer one question and end."""
        self._messages.append({"role": "user", "content": prompt})
        if self._output.as_json:
            text, last = "", {}
            async for chunk in self._chunks():
                text += _text(chunk)
                last = chunk
            self._output.data(
                {
                    "model": self._model,
                    "answer": text,
                    "served_by": last.get("served_by", "home"),
                    **{k: last[k] for k in ("usage", "timings") if k in last},
                }
            )
        else:
            text = await self._answer()
        await self._keep(prompt, text)

    async def session(self, history: Path) -> None:
        """Ask and answer until `/bye`, Ctrl-D, or Ctrl-C at an empty prompt."""
        say = self._output.say
        self._output.tell(say("talk.hello", model=self._model))
        with _line_editing(history):
            while (said := self._read()) is not None:
                match said.strip():
                    case "":
                        continue
                    case "/bye" | "/exit" | "/quit":
                        return
                    case "/clear":
                        self._clear()
                        self._output.tell(say("talk.cleared"))
                    case "/?" | "/help":
                        self._output.tell(say("talk.help"))
                    case command if command.startswith("/system"):
                        self._system = command.removeprefix("/system").strip() or None
                        self._clear()
                        self._output.tell(say("talk.system"))
                    case command if command.startswith("/"):
                        self._output.tell(say("talk.unknown", command=command.split()[0]))
                    case _:
                        await self._exchange(said)

    async def _exchange(self, said: str) -> None:
        self._messages.append({"role": "user", "content": said})
        try:
            text = await self._answer()
        except HouseSaid as error:
            self._messages.pop()
            self._output.error(error.message, error.hint)
            return
        self._messages.append({"role": "assistant", "content": text})
        await self._keep(said, text)

    async def _keep(self, said: str, answered: str) -> None:
        """Add a question and its answer to the conversation that is kept, if it shall be."""
        if not self._save:
            return
        if self._chat is None:
            made = await self._client.post("/domicile/chats", {"model": self._model, "system": self._system})
            self._chat = made["id"]
            self._output.tell(self._output.say("chats.saved", id=self._chat))
        answer = {"role": "assistant", "text": answered, "model": self._model}
        body = {"messages": [{"role": "user", "text": said}, answer]}
        await self._client.post(f"/domicile/chats/{self._chat}/messages", body)

    async def _answer(self) -> str:
        """Write the answer as it comes; what there is of it when Ctrl-C stops it."""
        written: list[str] = []
        writing = asyncio.create_task(self._write(written))
        with _interrupts(writing):
            await asyncio.wait([writing])
        if writing.cancelled():
            print(flush=True)
            self._output.tell(self._output.say("talk.stopped"))
        else:
            writing.result()
        return "".join(written)

    async def _write(self, written: list[str]) -> None:
        thinking = False
        async for chunk in self._chunks():
            self._say_who(chunk)
            if reasoning := _text(chunk, "reasoning_content"):
                thinking = self._write_aside(reasoning, thinking)
            if text := _text(chunk):
                if thinking:
                    print("\n", file=sys.stderr)
                    thinking = False
                written.append(text)
                print(clean(text), end="", flush=True)
        print()

    def _say_who(self, chunk: Mapping[str, Any]) -> None:
        """Another than this house answers: said once for each change."""
        who = str(chunk.get("served_by") or "home")
        if who != self._served_by:
            key = "talk.back_home" if who == "home" else "talk.served_by"
            self._output.tell(self._output.say(key, name=who))
            self._served_by = who

    def _write_aside(self, text: str, begun: bool) -> bool:
        """A model's thinking is talk, not the answer: on a terminal it is shown, dimmed, elsewhere it is not."""
        if self._output.coloured and not self._output.quiet:
            if not begun:
                print("\x1b[2m", end="", file=sys.stderr)
            print(clean(text), end="", file=sys.stderr, flush=True)
            print("\x1b[0m", end="", file=sys.stderr)
            return True
        return False

    def _chunks(self) -> AsyncIterator[dict[str, Any]]:
        body = {"model": self._model, "messages": self._messages, **self._options}
        return self._client.chat({**body, "stream_options": {"include_usage": True}})

    def _read(self) -> str | None:
        """A question; lines between triple quotes are one. None at the end."""
        first = _input(">>> ")
        if first is None or not first.lstrip().startswith('"""'):
            return first
        lines = [first.lstrip()[3:]]
        while not lines[-1].rstrip().endswith('"""'):
            more = _input("... ")
            if more is None:
                return None
            lines.append(more)
        lines[-1] = lines[-1].rstrip()[:-3]
        return "\n".join(lines)


def _text(chunk: Mapping[str, Any], field: str = "content") -> str:
    choices: Sequence[Mapping[str, Any]] = chunk.get("choices") or [{}]
    delta = choices[0].get("delta") or {}
    return str(delta.get(field) or "")


def _input(prompt: str) -> str | None:
    """A typed line; None for Ctrl-D, or for Ctrl-C at the prompt.

    Read in this thread: nothing else of ours has to go on while a person types, and line editing must see Ctrl-C.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return input(prompt)
    except (EOFError, KeyboardInterrupt):
        print(file=sys.stderr)
        return None
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _interrupts(task: asyncio.Task[Any]) -> Iterator[None]:
    """Ctrl-C stops the task while the context lasts."""
    loop = asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGINT)
    try:
        loop.add_signal_handler(signal.SIGINT, task.cancel)
    except (NotImplementedError, RuntimeError, ValueError):  # Windows, or not the main thread
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _line_editing(history: Path) -> Iterator[None]:
    """Arrows and a history of questions, where the system has readline; the file is for its owner only."""
    try:
        import readline
    except ImportError:
        yield
        return
    with contextlib.suppress(OSError):
        readline.read_history_file(history)
    readline.set_history_length(1000)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            readline.write_history_file(history)
            history.chmod(0o600)
