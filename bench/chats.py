"""What the list and the search of conversations cost with many of them. `python -m bench.chats [chats] [messages]`.

A house of its own with 10,000 conversations of ten messages (made by a seed, words of a French and English vocabulary),
asked over its real API in this process: milliseconds of a request, its JSON included. Goal: 100 ms at most.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from typing import Literal

import httpx2
from tests.fakes.inside import InProcess

from domicile.app import open_house
from domicile.chats import Chats
from domicile.chats.words import Chat, Message
from domicile.config import load
from domicile.web import build
from domicile.web.guard import Rules

GOAL_MS = 100
_VOCABULARY = """
le la de un être et à il avoir ne je son que se qui ce dans en du elle au faire pour pas plus mais nous vous
été maison cœur élève forêt façon après même très où déjà modèle mémoire vitesse réponse question jardin the
of and to in is you that it he was for on are as with his they at be this have from or one had by word but not
what all were
"""
_WORDS = _VOCABULARY.split()
QUERIES = {
    "first page": {},
    "a page of a folder that is empty": {"folder": "folder-none"},
    "archived": {"archived": "true"},
    "search: a word of every message": {"q": "le"},
    "search: a word of most, with an accent": {"q": "élève"},
    "search: five common words": {"q": "le maison coeur foret question"},
    "search: two letters of a beginning": {"q": "mo"},
    "search: a rare word": {"q": "zanzibar"},
    "search: nothing": {"q": "introuvable"},
    "search: a phrase": {"q": '"le jardin"'},
}


def fill(room: Chats, chats: int, messages: int) -> None:
    """Conversations by a seed; one in a thousand messages has the rare word."""
    chance = random.Random(1)
    store = room._kept.store
    roles: tuple[Literal["user"], Literal["assistant"]] = ("user", "assistant")
    for n in range(chats):
        said, parent = list[Message](), None
        for place in range(messages):
            words = chance.choices(_WORDS, k=chance.randrange(20, 180))
            if chance.random() < 0.001:
                words.append("zanzibar")
            said.append(Message(f"message-{n}-{place}", parent, roles[place % 2], " ".join(words), float(n)))
            parent = said[-1].id
        title = " ".join(chance.choices(_WORDS, k=6))
        chat = Chat(f"chat-{n}", title, float(n), float(n), leaf=parent, archived=chance.random() < 0.05)
        store.add(chat, said, durable=False)


async def measure(chats: int, messages: int, rounds: int = 7) -> None:
    with tempfile.TemporaryDirectory() as home:
        settings = load({"DOMICILE_HOME": home})
        async with open_house(settings, {}) as house:
            began = time.perf_counter()
            fill(house.chats, chats, messages)
            size = settings.chats.stat().st_size / 1e6
            print(f"{chats} chats of {messages} messages: {size:.0f} MB, made in {time.perf_counter() - began:.0f} s")
        began = time.perf_counter()
        async with open_house(settings, {}) as house:
            opened = time.perf_counter()
            _ = house.chats
            print(f"opened in {(time.perf_counter() - opened) * 1000:.0f} ms (the house: {opened - began:.2f} s)")
            transport = InProcess(build(house, Rules(frozenset({"house"}))))
            async with httpx2.AsyncClient(transport=transport, base_url="http://house") as http:
                for name, query in QUERIES.items():
                    took, found = [], 0
                    for _ in range(rounds):
                        start = time.perf_counter()
                        answer = await http.get("/domicile/chats", params=query)
                        took.append((time.perf_counter() - start) * 1000)
                        found = len(answer.json()["chats"])
                    median, worst = statistics.median(took), max(took)
                    held = "yes" if worst <= GOAL_MS else "no"
                    print(f"| {name} | {found} | {median:.1f} | {worst:.1f} | <= {GOAL_MS}: {held} |")


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    os.nice(5)
    asyncio.run(measure(*(numbers or [10_000, 10])))
