"""Conversations: kept as trees, found by their words, with files, forgotten when one says so."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from domicile.app import House, open_house
from domicile.chats import search
from domicile.chats.prompt import prompt_of
from domicile.chats.words import Attachment, Chat, Message, title_of
from domicile.config import load
from domicile.engines import Engine
from tests.conftest import Visiting

pytestmark = pytest.mark.anyio
URL = "/domicile/chats"


async def make(http: httpx2.AsyncClient, **given: Any) -> str:
    answer = await http.post(URL, json={"model": "graine", **given})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def tell(http: httpx2.AsyncClient, chat: str, *texts: str) -> list[dict[str, Any]]:
    """Words of a person and of a model in turn, that no model was asked for."""
    said = [{"role": ("user", "assistant")[n % 2], "text": text} for n, text in enumerate(texts)]
    answer = await http.post(f"{URL}/{chat}/messages", json={"messages": said})
    assert answer.status_code == 201, answer.text
    made: list[dict[str, Any]] = answer.json()["messages"]
    return made


async def told(http: httpx2.AsyncClient, path: str = URL, **query: str) -> dict[str, Any]:
    answer = await http.get(path, params=query)
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()
    return data


def code(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


# -- the list --


async def test_a_chat_is_called_after_its_first_line_until_a_person_names_it(visiting: Visiting) -> None:
    async with visiting() as visit:
        chat = await make(visit.http)
        await tell(
            visit.http, chat, "\n## Une recette de crêpes, sans lait ni œufs, pour douze personnes affamées\nMerci"
        )
        title = (await told(visit.http, f"{URL}/{chat}"))["title"]
        assert title.startswith("Une recette de crêpes, sans lait ni œufs")
        assert title.endswith("…")
        assert len(title) <= 60
        await visit.http.patch(f"{URL}/{chat}", json={"title": "Crêpes"})
        await tell(visit.http, chat, "Autre chose")
        assert (await told(visit.http, f"{URL}/{chat}"))["title"] == "Crêpes"
        await visit.http.patch(f"{URL}/{chat}", json={"title": ""})
        assert (await told(visit.http, f"{URL}/{chat}"))["title"] == title


async def test_pages_of_the_list_follow_one_another_pinned_ones_first_and_none_twice(visiting: Visiting) -> None:
    async with visiting() as visit:
        ids = [await make(visit.http, title=f"chat {n}") for n in range(7)]
        await visit.http.patch(f"{URL}/{ids[2]}", json={"pinned": True})
        await visit.http.patch(f"{URL}/{ids[5]}", json={"archived": True})
        seen, cursor = list[str](), dict[str, str]()
        while True:
            page = await told(visit.http, limit="2", **cursor)
            assert page["total"] == 6
            seen += [c["id"] for c in page["chats"]]
            if page["next"] is None:
                break
            cursor = {"cursor": page["next"]}
        assert seen == [ids[2], ids[6], ids[4], ids[3], ids[1], ids[0]]
        assert [c["id"] for c in (await told(visit.http, archived="true"))["chats"]] == [ids[5]]
        assert code(await visit.http.get(URL, params={"cursor": "here"})) == (400, "bad_field")
        assert code(await visit.http.get(URL, params={"limit": "1000"})) == (400, "bad_field")


async def test_words_are_found_without_accents_case_or_ligatures_and_the_place_is_shown(visiting: Visiting) -> None:
    async with visiting() as visit:
        chat = await make(visit.http, title="Recettes")
        await tell(visit.http, chat, "Bonsoir", "Le cœur de l'été bat à Orléans, près du café des Élèves.")
        other = await make(visit.http, title="Un œuf à la coque")
        for words in ("coeur", "CŒUR", "eleve", "élèves", "cafe orl", '"près du cafe"'):
            found = (await told(visit.http, q=words))["chats"]
            assert [c["id"] for c in found] == [chat], words
        where = found[0]["found"]
        assert (where["before"][-1], where["match"]) == (" ", "près du café")
        assert [c["id"] for c in (await told(visit.http, q="oeuf"))["chats"]] == [other]
        for nothing in ("chat cœur", '"cafe du pres"', "-", '"', "eur"):
            assert (await told(visit.http, q=nothing))["chats"] == []


async def test_what_was_changed_or_deleted_is_no_longer_found(visiting: Visiting) -> None:
    async with visiting() as visit:
        chat = await make(visit.http)
        first, second = await tell(visit.http, chat, "cerise", "framboise")
        await visit.http.patch(f"{URL}/{chat}/messages/{second['id']}", json={"text": "groseille"})
        assert (await told(visit.http, q="framboise"))["chats"] == []
        assert len((await told(visit.http, q="groseille"))["chats"]) == 1
        await visit.http.delete(f"{URL}/{chat}/messages/{first['id']}")
        assert (await told(visit.http, f"{URL}/{chat}"))["messages"] == []
        assert (await told(visit.http, q="groseille"))["chats"] == []
        await visit.http.delete(f"{URL}/{chat}")
        assert (await told(visit.http, q="cerise"))["chats"] == []  # it was the title
        assert code(await visit.http.get(f"{URL}/{chat}")) == (404, "chat_not_found")


async def test_a_search_reads_no_further_than_its_page(visiting: Visiting) -> None:
    async with visiting() as visit:
        store = visit.house.chats._kept.store
        for n in range(400):
            store.add(
                Chat(f"chat-{n}", f"numéro {n}", n, n),
                [Message(f"message-{n}", None, "user", f"bonjour à {n}", n)],
                durable=False,
            )
        steps = 0
        connection = visit.house.chats._kept.database._connection

        def count() -> int:
            nonlocal steps
            steps += 1
            return 0

        connection.set_progress_handler(count, 100)
        page = store.find("bonjour", limit=20)
        few, steps = steps, 0
        assert [c.id for c in page.chats] == [f"chat-{n}" for n in range(399, 379, -1)]
        again = store.find("bonjour", limit=20, cursor=page.next)
        assert [c.id for c in again.chats] == [f"chat-{n}" for n in range(379, 359, -1)]
        steps = 0
        store.find("bonjour", limit=400)
        assert few * 4 < steps
        connection.set_progress_handler(None, 0)


async def test_folders_hold_chats_and_leave_them_when_they_go(visiting: Visiting) -> None:
    async with visiting() as visit:
        folder = (await visit.http.post(f"{URL}/folders", json={"name": "Travail"})).json()["id"]
        assert code(await visit.http.post(f"{URL}/folders", json={"name": "travail"})) == (400, "bad_field")
        chat = await make(visit.http, folder=folder)
        assert [c["id"] for c in (await told(visit.http, folder=folder))["chats"]] == [chat]
        assert (await told(visit.http, f"{URL}/folders"))["folders"][0]["chats"] == 1
        await visit.http.delete(f"{URL}/folders/{folder}")
        assert [c["id"] for c in (await told(visit.http, folder="none"))["chats"]] == [chat]
        refused = await visit.http.patch(f"{URL}/{chat}", json={"folder": folder})
        assert code(refused) == (404, "folder_not_found")


async def test_a_preset_gives_a_chat_its_prompt_and_parameters(visiting: Visiting) -> None:
    async with visiting() as visit:
        given = {"name": "Relecteur", "system": "Corrige.", "parameters": {"temperature": 0.2}}
        preset = (await visit.http.post(f"{URL}/presets", json=given)).json()
        made = await visit.http.post(URL, json={"preset": preset["id"]})
        assert (made.json()["system"], made.json()["parameters"]) == ("Corrige.", {"temperature": 0.2})
        await visit.http.patch(f"{URL}/presets/{preset['id']}", json={"name": "Relectrice"})
        assert [(p["name"], p["system"]) for p in (await told(visit.http, f"{URL}/presets"))["presets"]] == [
            ("Relectrice", "Corrige.")
        ]
        await visit.http.delete(f"{URL}/presets/{preset['id']}")
        assert code(await visit.http.post(URL, json={"preset": preset["id"]})) == (404, "preset_not_found")


@pytest.mark.parametrize(
    "wrong",
    [
        {"parameters": {"temperature": "hot"}},
        {"parameters": {"wings": 2}},
        {"parameters": {"context": "shift"}},
        {"strategy": "anywhere"},
        {"title": 4},
        {"system": "x" * 100_001},
        {"pinned": "yes"},
    ],
    ids=lambda w: next(iter(w)),
)
async def test_what_cannot_be_read_is_refused_in_both_languages(visiting: Visiting, wrong: dict[str, Any]) -> None:
    async with visiting() as visit:
        answers = [await visit.http.post(URL, json=wrong, headers={"Accept-Language": lang}) for lang in ("en", "fr")]
        assert [code(a) for a in answers] == [(400, "bad_field")] * 2
        assert answers[0].json()["error"]["message"] != answers[1].json()["error"]["message"]
        assert (await told(visit.http))["total"] == 0


# -- deleting, and files --


async def attach(http: httpx2.AsyncClient, data: bytes, name: str = "n.txt", query: str = "") -> dict[str, Any]:
    answer = await http.post(f"{URL}/attachments?name={name}{query}", content=data)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def files(house: House) -> list[Path]:
    return [p for p in house.settings.attachments_folder.rglob("*") if p.is_file()]


async def say(http: httpx2.AsyncClient, house: House, chat: str, text: str, *attachments: str) -> dict[str, Any]:
    """A question whose answer is waited for: the answer."""
    asked = await http.post(f"{URL}/{chat}/answer", json={"text": text, "attachments": list(attachments)})
    assert asked.status_code == 202, asked.text
    return await ended(house, chat, asked.json()["messages"][-1]["id"], http)


async def ended(house: House, chat: str, message: str, http: httpx2.AsyncClient) -> dict[str, Any]:
    writing = house.chats._writers.get(message)
    if writing is not None and writing.work is not None:
        await writing.work
    whole = await told(http, f"{URL}/{chat}")
    return next(m for m in whole["messages"] if m["id"] == message)


async def test_files_are_kept_once_for_the_owner_alone_and_freed_when_nobody_has_them(visiting: Visiting) -> None:
    async with visiting() as visit:
        one, two = [await make(visit.http) for _ in range(2)]
        first, second = [await attach(visit.http, b"Bonjour tout le monde") for _ in range(2)]
        assert first["id"] != second["id"]
        await say(visit.http, visit.house, one, "lis", first["id"])
        await say(visit.http, visit.house, two, "lis", second["id"])
        (kept,) = files(visit.house)
        assert kept.name == first["sha256"]
        private = [kept, visit.house.settings.chats]
        assert [stat.S_IMODE(p.stat().st_mode) for p in private] == [0o600] * 2
        assert stat.S_IMODE(visit.house.settings.attachments_folder.stat().st_mode) == 0o700
        gone = (await visit.http.delete(f"{URL}/{one}")).json()
        assert (gone["freed_bytes"], files(visit.house)) == (0, [kept])
        gone = (await visit.http.post(f"{URL}/delete", json={"all": True})).json()
        assert (gone["deleted"], gone["freed_bytes"], files(visit.house)) == ([two], 21, [])
        assert code(await visit.http.get(f"{URL}/attachments/{second['id']}")) == (404, "attachment_not_found")


async def test_a_message_takes_its_files_with_it_but_not_those_of_others(visiting: Visiting) -> None:
    async with visiting() as visit:
        chat = await make(visit.http)
        mine = await attach(visit.http, b"un")
        answer = await say(visit.http, visit.house, chat, "lis", mine["id"])
        asked = await visit.http.post(f"{URL}/{chat}/answer", json={"edit": answer["parent"], "text": "relis"})
        question, other = asked.json()["messages"]
        await ended(visit.house, chat, other["id"], visit.http)
        assert [a["id"] for a in question["attachments"]] == [mine["id"]]  # an edit keeps the files
        await visit.http.delete(f"{URL}/{chat}/messages/{answer['parent']}")
        assert len(files(visit.house)) == 1
        await visit.http.delete(f"{URL}/{chat}/messages/{question['id']}")
        assert files(visit.house) == []


async def test_what_was_sent_and_never_used_goes_after_a_day(visiting: Visiting) -> None:
    async with visiting() as visit:
        await attach(visit.http, b"un")
        kept = visit.house.chats._kept.attachments
        assert (kept.sweep(), len(files(visit.house))) == (0, 1)
        assert (kept.sweep(time.time() + 2 * 86400), files(visit.house)) == (2, [])


async def test_files_have_room_within_bounds(visiting: Visiting) -> None:
    async with visiting(attachments=10) as visit:
        await attach(visit.http, b"12345678")
        await attach(visit.http, b"12345678")  # the same content takes no more
        refused = await visit.http.post(f"{URL}/attachments?name=b", content=b"abcdefgh")
        assert code(refused) == (507, "attachments_full")


@pytest.mark.parametrize(
    ("data", "kind", "media"),
    [
        ("Été".encode(), "text", "text/plain"),
        ("Été".encode("cp1252"), "text", "text/plain"),
        ("Été".encode("utf-16"), "text", "text/plain"),
        (b"<svg onload='alert(1)'/>", "text", "text/plain"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 20, "image", "image/png"),
        (b"RIFF\0\0\0\0WAVEfmt ", "audio", "audio/wav"),
    ],
    ids=["utf-8", "cp1252", "utf-16", "svg", "png", "wav"],
)
async def test_a_file_is_what_its_bytes_are_and_never_runs(
    visiting: Visiting, data: bytes, kind: str, media: str
) -> None:
    async with visiting() as visit:
        made = await attach(visit.http, data, "../../x.html")
        assert (made["kind"], made["media_type"], made["name"]) == (kind, media, "x.html")
        content = await visit.http.get(f"{URL}/attachments/{made['id']}/content")
        assert content.content == data
        assert content.headers["content-type"].split(";")[0] == media
        assert content.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in content.headers["content-security-policy"]
        assert content.headers["content-disposition"].startswith("attachment" if kind == "text" else "inline")
        if kind == "text" and b"svg" not in data:
            assert (await told(visit.http, f"{URL}/attachments/{made['id']}"))["text"] == "Été"


async def test_what_no_model_could_be_given_is_refused(visiting: Visiting) -> None:
    async with visiting() as visit:
        for data in (b"", b"PK\x03\x04\0\0\0\0zip", b"\x7fELF\0\0"):
            refused = await visit.http.post(f"{URL}/attachments?name=a", content=data)
            assert code(refused) == (415, "attachment_refused")


async def test_a_temporary_chat_is_nowhere_but_in_memory(visiting: Visiting) -> None:
    async with visiting() as visit:
        chat = await make(visit.http, temporary=True)
        assert chat.startswith("temp-")
        mine = await attach(visit.http, b"secret de famille", query="&temporary=1")
        answer = await say(visit.http, visit.house, chat, "mot de passe pamplemousse", mine["id"])
        assert "pamplemousse" in answer["text"]
        assert (await told(visit.http))["total"] == 0
        assert (await told(visit.http, q="pamplemousse"))["chats"] == []
        home = visit.house.settings.home
        everything = b"".join(p.read_bytes() for p in home.rglob("*") if p.is_file())
        assert b"pamplemousse" not in everything
        assert b"secret de famille" not in everything
        kept = await make(visit.http)
        elsewhere = await visit.http.post(f"{URL}/{kept}/answer", json={"text": "x", "attachments": [mine["id"]]})
        assert code(elsewhere) == (404, "attachment_not_found")
        await visit.http.delete(f"{URL}/{chat}")
        assert code(await visit.http.get(f"{URL}/{chat}")) == (404, "chat_not_found")


async def test_a_damaged_file_of_chats_is_put_aside_and_said(
    visiting: Visiting, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = load()
    settings.home.mkdir(parents=True)
    settings.chats.write_bytes(b"not a database at all" * 500)
    async with visiting() as visit:
        await make(visit.http)
        assert "chats.db.damaged-1" in capsys.readouterr().err
        assert (settings.home / "chats.db.damaged-1").read_bytes().startswith(b"not a database")


async def test_the_chats_of_one_owner_are_not_seen_by_another(visiting: Visiting) -> None:
    async with visiting() as visit:
        chat = await make(visit.http, title="à moi")
        room = visit.house.chats
        assert room.page(None, "somebody").total == 0
        assert room.page("moi", "somebody").chats == []
        assert await room.remove([chat], "somebody") == ([], 0)
        assert (await told(visit.http))["total"] == 1


# -- what a model is given of files --


def _file(text: str | None, name: str = "a.txt", **facts: Any) -> Attachment:
    kind = "text" if text is not None else "audio"
    return Attachment(f"file-{name}", "0", name, "text/plain", kind, 1, 0.0, text, facts)  # type: ignore[arg-type]


def test_short_files_are_given_whole_long_ones_share_the_rest_and_say_so() -> None:
    attachments = (_file("court", "a"), _file("x" * 5000, "b"), _file("y" * 900, "c"))
    asked = Message("m", None, "user", "Résume.", 0.0, attachments=attachments)
    prompt = prompt_of([asked], "Sois bref.", 2000, lambda _: None)
    assert [(g.name, g.characters, g.of, g.reason) for g in prompt.files] == [
        ("a", 5, 5, None),
        ("b", 1095, 5000, "room"),
        ("c", 900, 900, None),
    ]
    system, user = prompt.messages
    assert system == {"role": "system", "content": "Sois bref."}
    assert "Only the first 1095 of 5000 characters are given here" in user["content"]
    assert user["content"].count("x") < 1200
    assert user["content"].endswith("Résume.")


def test_newer_files_come_before_older_ones_and_a_sound_nobody_wrote_down_is_said() -> None:
    old = Message("1", None, "user", "a", 0.0, attachments=(_file("o" * 900, "old"),))
    said = Message("2", "1", "assistant", "b", 0.0)
    new = Message("3", "2", "user", "c", 0.0, attachments=(_file("n" * 900, "new"), _file(None, "memo.wav")))
    prompt = prompt_of([old, said, new], None, 1000, lambda _: None)
    assert [(g.name, g.characters, g.reason) for g in prompt.files] == [
        ("old", 0, "room"),
        ("new", 900, None),
        ("memo.wav", 0, "unheard"),
    ]
    assert "nobody has written down what is heard" in prompt.messages[-1]["content"]


def test_an_answer_that_failed_leaves_no_hole_in_the_turns() -> None:
    branch = [
        Message("1", None, "user", "un", 0.0),
        Message("2", "1", "assistant", "", 0.0, state="failed"),
        Message("3", "2", "user", "deux", 0.0),
    ]
    assert prompt_of(branch, None, 0, lambda _: None).messages == [{"role": "user", "content": "un\n\ndeux"}]


def test_pictures_are_given_as_data() -> None:
    picture = Attachment("f", "0", "p.png", "image/png", "image", 3, 0.0)
    asked = Message("1", None, "user", "Que vois-tu ?", 0.0, attachments=(picture,))
    (told,) = prompt_of([asked], None, 0, lambda _: b"abc").messages
    assert told["content"][0]["image_url"]["url"] == "data:image/png;base64,YWJj"
    assert told["content"][1]["text"] == "Que vois-tu ?"


@pytest.mark.parametrize(
    ("said", "expression"),
    [
        ("deux mots", '"deux" "mots"*'),
        ("deux ", '"deux"'),
        ('"une phrase" mot', '"une phrase" "mot"*'),
        ('guil"lemet', '"guil""lemet"*'),
        ("NEAR(a b)", '"NEAR(a" "b)"'),
        ("a:b^2*", '"a:b^2*"*'),
        ("...", None),
        ("", None),
    ],
)
def test_what_is_typed_is_words_and_never_syntax(said: str, expression: str | None) -> None:
    assert search.query(said) == expression


@pytest.mark.parametrize("hostile", ['"', "* OR title:", "NOT", "a AND", "{x}:y", "'; DROP TABLE chats", "\x00", "^"])
async def test_no_search_is_an_error(visiting: Visiting, hostile: str) -> None:
    async with visiting() as visit:
        await make(visit.http, title="x y a")
        assert isinstance((await told(visit.http, q=hostile))["chats"], list)


def test_a_title_is_cut_between_words() -> None:
    assert title_of("\n  - un   deux\ntrois") == "un deux"
    assert title_of("mot " * 30) == ("mot " * 14).strip() + "…"
    assert title_of("x" * 100) == "x" * 59 + "…"
    assert title_of("", (_file("t", "notes.txt"),)) == "notes.txt"


# -- out and in --


def _without_times(export: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in export.items() if k != "exported_at"}


async def test_an_export_comes_back_as_it_was_in_another_house(visiting: Visiting, tmp_path: Path) -> None:
    async with visiting() as visit:
        folder = (await visit.http.post(f"{URL}/folders", json={"name": "Cuisine"})).json()["id"]
        await visit.http.post(f"{URL}/presets", json={"name": "P", "system": "S"})
        chat = await make(visit.http, folder=folder, system="Sois bref.", parameters={"temperature": 0.5})
        mine = await attach(visit.http, "crêpes".encode(), "r.txt")
        answer = await say(visit.http, visit.house, chat, "une recette", mine["id"])
        asked = await visit.http.post(f"{URL}/{chat}/answer", json={"regenerate": answer["id"]})
        await ended(visit.house, chat, asked.json()["messages"][0]["id"], visit.http)
        await visit.http.patch(f"{URL}/{chat}", json={"leaf": answer["id"], "pinned": True})
        before = (await visit.http.get(f"{URL}/export")).json()
        again = (await visit.http.post(f"{URL}/import", json=before)).json()
        assert (again["added"], again["present"], again["left_out"]) == ([], [chat], [])
    engines: dict[str, Engine] = {}
    async with open_house(load({"DOMICILE_HOME": str(tmp_path / "other")}), engines) as house:
        came = house.chats.take_in(before)
        assert [c.id for c in came["added"]] == [chat]
        after = json.loads("".join(house.chats.export(None)))
        folders = {f["id"] for f in after["folders"]}
        assert [c.pop("folder") in folders for c in after["chats"]] == [True]
        assert [c.pop("folder") for c in before["chats"]] == [folder]
        for part in ("chats", "attachments"):
            assert after[part] == before[part]
        assert [p["name"] for p in after["presets"]] == ["P"]
        assert house.chats.attachment_data(house.chats.attachment(mine["id"])) == "crêpes".encode()


async def test_a_branch_is_given_as_markdown_in_the_language_of_who_asks(visiting: Visiting) -> None:
    async with visiting() as visit:
        chat = await make(visit.http, title="Salut", system="Sois bref.")
        await tell(visit.http, chat, "Bonjour", "**Oui**")
        answer = await visit.http.get(f"{URL}/{chat}/export?format=markdown", headers={"Accept-Language": "fr"})
        assert answer.headers["content-type"].startswith("text/markdown")
        assert answer.text == (
            "# Salut\n\n> **Consigne**\n>\n> Sois bref.\n\n## Vous\n\nBonjour\n\n## assistant\n\n**Oui**\n"
        )


def _chatgpt() -> list[dict[str, Any]]:
    def node(name: str, parent: str | None, children: list[str], role: str = "", text: str = "") -> dict[str, Any]:
        message = {"id": name, "author": {"role": role}, "create_time": 1.7e9, "metadata": {"model_slug": "gpt-x"},
                   "content": {"content_type": "text", "parts": [text]}, "weight": 1.0}  # fmt: skip
        return {"id": name, "parent": parent, "children": children, "message": message if role else None}

    nodes = [
        node("root", None, ["sys"]),
        node("sys", "root", ["q"], "system", ""),
        node("q", "sys", ["a1", "a2"], "user", "Quelle heure ?"),
        node("a1", "q", [], "assistant", "Midi."),
        node("a2", "q", [], "assistant", "Deux heures."),
    ]
    mapping = {n["id"]: n for n in nodes}
    return [{"title": "L'heure", "create_time": 1.7e9, "update_time": 1.7e9, "mapping": mapping, "current_node": "a1"}]


def _open_webui() -> list[dict[str, Any]]:
    asked = {"id": "u", "parentId": None, "childrenIds": ["a"], "role": "user", "content": "Bonjour", "timestamp": 17e8}
    details = '<details type="reasoning" done="true" duration="2">\n<summary>Thought</summary>\n> hm\n</details>\nOui'
    said = {"id": "a", "parentId": "u", "childrenIds": [], "role": "assistant", "content": details, "model": "llama3"}
    history = {"messages": {"u": asked, "a": said}, "currentId": "a"}
    chat = {"title": "Salut", "models": ["llama3"], "history": history, "params": {"system": "Sois bref."}}
    return [{"id": "x", "title": "Salut", "chat": chat, "created_at": 17e8, "updated_at": 17e8, "pinned": True}]


async def test_chats_of_other_tools_come_in_once_as_the_trees_they_were(visiting: Visiting) -> None:
    async with visiting() as visit:
        for file in (_chatgpt(), _open_webui()):
            came = (await visit.http.post(f"{URL}/import", json=file)).json()
            assert (len(came["added"]), came["left_out"]) == (1, [])
            again = (await visit.http.post(f"{URL}/import", json=file)).json()
            assert (again["added"], len(again["present"])) == ([], 1)
        theirs, gpt = (await told(visit.http))["chats"]
        whole = await told(visit.http, f"{URL}/{gpt['id']}")
        assert [(m["role"], m["text"], m["model"]) for m in whole["messages"]] == [
            ("user", "Quelle heure ?", None),
            ("assistant", "Midi.", "gpt-x"),
            ("assistant", "Deux heures.", "gpt-x"),
        ]
        assert len({m["parent"] for m in whole["messages"][1:]}) == 1
        assert whole["path"] == [m["id"] for m in whole["messages"][:2]]
        whole = await told(visit.http, f"{URL}/{theirs['id']}")
        assert (whole["system"], whole["model"], whole["pinned"]) == ("Sois bref.", "llama3", True)
        assert (whole["messages"][1]["text"], whole["messages"][1]["reasoning"]) == ("Oui", "hm")
        assert len((await told(visit.http, q="midi"))["chats"]) == 1


async def test_a_hostile_file_brings_nothing_wrong(visiting: Visiting) -> None:
    message = {"id": "m1", "parent": "m1", "role": "user", "text": "x"}
    chats = [
        {"id": "chat-1", "messages": [message]},
        {"id": "../x", "messages": []},
        {"id": "chat-3", "messages": [{**message, "parent": None, "role": "system"}]},
        7,
        {"id": "chat-4", "title": "bon", "messages": [{**message, "parent": None, "attachments": ["f"]}]},
    ]
    lie = {"id": "f", "name": "/etc/passwd", "kind": "text", "media_type": "text/html", "sha256": "0" * 64, "data": ""}
    whole = {"domicile": "chats", "version": 1, "chats": chats, "attachments": [lie]}
    circle = {"a": {"id": "a", "parent": "b", "message": None}, "b": {"id": "b", "parent": "a", "message": None}}
    async with visiting() as visit:
        came = (await visit.http.post(f"{URL}/import", json=whole)).json()
        assert [c["title"] for c in came["added"]] == ["bon"]
        assert len(came["left_out"]) == 5
        assert files(visit.house) == []
        for wrong in ({"x": 1}, [], [1, 2], {**whole, "version": 99}, "text"):
            assert code(await visit.http.post(f"{URL}/import", json=wrong)) == (400, "bad_field")
        assert code(await visit.http.post(f"{URL}/import", content=b"{")) == (400, "bad_json")
        assert (await visit.http.post(f"{URL}/import", json=[{"mapping": circle}])).json()["added"] == []
