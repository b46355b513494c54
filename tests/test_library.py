"""The models that live here: found by the names people give them, removed without touching what is not ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from domicile import library as module
from domicile.config import Settings
from domicile.db import Database
from domicile.errors import BadModelFile, BadName, ModelFileMissing, ModelNotFound, NameTaken, NoSuchAlias, Pinned
from domicile.library import Library, folder_of, free_bytes
from domicile.refs import EMBEDDED
from domicile.types import Copy, Installed


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    opened = Database(settings.database)
    yield opened
    opened.close()


@pytest.fixture
def library(settings: Settings, database: Database) -> Library:
    return Library(settings, database)


@pytest.fixture
def seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An embedded model of our own, whether the real one was built or not."""
    file = _gguf(tmp_path / "seed" / "graine.gguf")
    monkeypatch.setattr(module, "EMBEDDED_FILE", file)
    return file


def _gguf(path: Path, size: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"GGUF".ljust(size, b"\0"))
    return path


def _from_hub(settings: Settings, name: str, *files: str) -> Installed:
    """A model as a pull leaves it, its files in our store."""
    repository, label = name.rsplit(":", 1)
    paths = tuple(_gguf(folder_of(settings, repository) / f) for f in files or (f"x-{label}.gguf",))
    size = sum(p.stat().st_size for p in paths)
    return Installed(name, paths[0], "gguf", size, "hub", paths, repository, quantisation=label)


def test_the_embedded_model_is_always_here_and_active_until_another_is(library: Library, seed: Path) -> None:
    (only,) = library.list()
    assert (only.name, only.source, only.active, only.missing) == (EMBEDDED, "embedded", True, False)
    assert library.active() == only
    seed.unlink()
    assert library.list()[0].missing


def test_the_list_has_the_active_model_first_and_then_goes_by_name(
    library: Library, settings: Settings, seed: Path
) -> None:
    for name in ("org/b:Q8_0", "Org/A:Q8_0", "org/c:Q8_0"):
        library.add(_from_hub(settings, name))
    library.activate("org/c")
    assert [m.name for m in library.list()] == ["org/c:Q8_0", EMBEDDED, "Org/A:Q8_0", "org/b:Q8_0"]
    assert [m.active for m in library.list()] == [True, False, False, False]


@pytest.mark.parametrize(
    "said",
    [
        "Org/Repo:Q4_K_M",
        "org/repo:q4_k_m",
        " ORG/REPO:Q4_K_M ",
        "org/repo",
        "org/repo:latest",
        "hf.co/Org/Repo:Q4_K_M",
        "https://huggingface.co/org/repo",
    ],
)
def test_a_model_is_found_by_every_name_people_give_it(library: Library, settings: Settings, said: str) -> None:
    library.add(_from_hub(settings, "Org/Repo:Q4_K_M"))
    assert library.get(said).name == "Org/Repo:Q4_K_M"


@pytest.mark.parametrize("said", ["graine", "GRAINE", "graine:latest", "Graine:Latest"])
def test_the_embedded_model_answers_to_its_name_with_the_tag_that_clients_add(library: Library, said: str) -> None:
    assert library.get(said).name == EMBEDDED


def test_a_repository_with_two_variants_here_needs_the_variant(library: Library, settings: Settings) -> None:
    library.add(_from_hub(settings, "org/repo:Q4_K_M"))
    library.add(_from_hub(settings, "org/repo:Q8_0"))
    with pytest.raises(ModelNotFound) as missing:
        library.get("org/repo")
    assert str(missing.value.facts["nearest"]).startswith("org/repo:Q")
    assert library.get("org/repo:q8_0").quantisation == "Q8_0"


@pytest.mark.parametrize(
    ("said", "nearest"),
    [
        ("grain", "graine"),
        ("org/repoo:Q4_K_M", "org/repo:Q4_K_M"),
        ("repo:q4_k_m", "org/repo:Q4_K_M"),
        ("zzzzzz", None),
    ],
)
def test_a_misspelt_name_gets_the_nearest_one(
    library: Library, settings: Settings, said: str, nearest: str | None
) -> None:
    library.add(_from_hub(settings, "org/repo:Q4_K_M"))
    with pytest.raises(ModelNotFound) as missing:
        library.get(said)
    assert missing.value.facts["nearest"] == nearest


@pytest.mark.parametrize("said", ["", " ", "\x00", "../../etc/passwd", "x" * 10_000, "a" * 96 + "/b", "é" * 300])
def test_a_name_that_is_none_is_not_found_and_not_repeated_whole(library: Library, said: str) -> None:
    with pytest.raises(ModelNotFound) as missing:
        library.get(said)
    assert len(str(missing.value.facts["name"])) <= 200


def test_what_was_added_is_read_back_whole_even_by_another_process(
    library: Library, settings: Settings, database: Database
) -> None:
    added = library.add(_from_hub(settings, "org/repo:Q4_K_M", "a-00001-of-00002.gguf", "a-00002-of-00002.gguf"))
    assert added.added_at is not None
    other = Database(settings.database)
    assert Library(settings, other).get("org/repo") == added
    other.close()


def test_adding_the_same_name_again_replaces_it(library: Library, settings: Settings) -> None:
    library.add(_from_hub(settings, "org/repo:Q4_K_M"))
    library.add(_from_hub(settings, "org/repo:Q4_K_M", "other.gguf"))
    assert library.get("org/repo").path.name == "other.gguf"
    assert len([m for m in library.list() if m.source == "hub"]) == 1


def test_a_file_is_entered_where_it_lies_and_once(library: Library, tmp_path: Path) -> None:
    path = _gguf(tmp_path / "mine" / "My model (1).gguf")
    model = library.add_file(path)
    assert (model.path, model.source, model.size_bytes, model.name) == (path, "file", 100, "My-model--1")
    assert library.add_file(path).name == model.name
    assert library.get(model.name).path == path
    assert len(library.list()) == 2


def test_files_of_one_name_get_names_of_their_own_and_none_takes_the_embedded_one(
    library: Library, tmp_path: Path
) -> None:
    names = [library.add_file(_gguf(tmp_path / str(n) / "graine.gguf")).name for n in range(3)]
    assert names == ["graine-2", "graine-3", "graine-4"]
    assert library.add_file(_gguf(tmp_path / "....gguf")).name == "model"
    assert len(library.add_file(_gguf(tmp_path / ("y" * 200 + ".gguf"))).name) <= 80


@pytest.mark.parametrize("content", [b"", b"GGU", b"PK\x03\x04zip", b"\x80\x05pickle", b"<html>", b"gguf"])
def test_a_file_that_is_no_gguf_is_refused_with_what_it_begins_with(
    library: Library, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    with pytest.raises(BadModelFile) as refused:
        library.add_file(path)
    assert refused.value.facts["reason"] == "magic"
    assert refused.value.facts["problem"] == repr(content[:4])


@pytest.mark.parametrize(
    "name", ["nowhere.gguf", "folder", "x" * 5000, "a\x00b"], ids=["none", "folder", "long", "NUL"]
)
def test_a_file_that_cannot_be_there_is_missing_and_no_bug(library: Library, tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ModelFileMissing):
        library.add_file(Path(f"{tmp_path}/{name}"))


def test_a_file_removed_by_hand_shows_missing_and_is_named_when_asked(library: Library, settings: Settings) -> None:
    model = library.add(_from_hub(settings, "org/repo:Q4_K_M", "a-00001-of-00002.gguf", "a-00002-of-00002.gguf"))
    model.files[1].unlink()
    assert library.get("org/repo").missing
    with pytest.raises(ModelFileMissing):
        library.ready("org/repo")
    with pytest.raises(ModelFileMissing):
        library.activate("org/repo")
    _gguf(model.files[1])
    assert not library.ready("org/repo").missing


def test_the_active_model_is_kept_until_it_is_gone(
    library: Library, settings: Settings, seed: Path, database: Database
) -> None:
    library.add(_from_hub(settings, "org/repo:Q4_K_M"))
    assert library.activate("ORG/repo").active
    assert Library(settings, database).active().name == "org/repo:Q4_K_M"
    library.get("org/repo").path.unlink()
    assert library.active().name == EMBEDDED
    library.remove("org/repo")
    assert library.list()[0].name == EMBEDDED
    assert library.list()[0].active


def test_using_a_model_is_remembered(library: Library, settings: Settings) -> None:
    library.add(_from_hub(settings, "org/repo:Q4_K_M"))
    assert library.get("org/repo").last_used_at is None
    library.used("org/repo:Q4_K_M")
    assert library.get("org/repo").last_used_at is not None


def test_removing_a_model_of_ours_frees_its_files_and_its_empty_folders(library: Library, settings: Settings) -> None:
    library.add(_from_hub(settings, "org/repo:Q4_K_M", "Q4/a.gguf", "Q4/b.gguf"))
    library.add(_from_hub(settings, "org/other:Q8_0"))
    assert library.remove("org/repo") == 200
    assert not (settings.models / "org" / "repo").exists()
    assert (settings.models / "org" / "other").exists()
    library.remove("org/other")
    assert settings.models.exists()
    assert list(settings.models.iterdir()) == []
    with pytest.raises(ModelNotFound):
        library.get("org/repo")


def test_a_file_shared_by_two_models_goes_with_the_last_one(library: Library, settings: Settings) -> None:
    first = library.add(_from_hub(settings, "org/repo:Q4_K_M", "own.gguf", "shared.gguf"))
    library.add(_from_hub(settings, "org/repo:Q8_0", "other.gguf", "shared.gguf"))
    assert library.remove("org/repo:Q4_K_M") == 100
    assert first.files[1].exists()
    assert not library.get("org/repo:Q8_0").missing
    assert library.remove("org/repo:Q8_0") == 200
    assert not first.files[1].exists()


def test_a_file_of_yours_is_forgotten_and_stays_where_it_is(library: Library, tmp_path: Path) -> None:
    path = _gguf(tmp_path / "mine" / "x.gguf")
    library.add_file(path)
    assert library.remove("x") == 0
    assert path.exists()
    assert [m.name for m in library.list()] == [EMBEDDED]


def test_removing_never_deletes_outside_the_store_whatever_the_entry_says(
    library: Library, settings: Settings, tmp_path: Path
) -> None:
    outside = _gguf(tmp_path / "precious.gguf")
    settings.models.mkdir(parents=True)
    link = settings.models / "link"
    link.symlink_to(tmp_path)
    evil = (
        outside,
        settings.models / ".." / ".." / "precious.gguf",
        link / "precious.gguf",
        settings.database,
        settings.home / "models-elsewhere" / "x",
    )
    library.add(Installed("evil", outside, "gguf", 1, "hub", files=evil))
    assert library.remove("evil") == 0
    assert outside.exists()
    assert settings.database.exists()


def test_the_embedded_model_cannot_be_removed(library: Library, seed: Path) -> None:
    with pytest.raises(BadModelFile) as refused:
        library.remove(EMBEDDED)
    assert refused.value.facts["reason"] == "embedded"
    assert seed.exists()


def test_removing_a_model_whose_files_are_gone_forgets_it(library: Library, settings: Settings) -> None:
    library.add(_from_hub(settings, "org/repo:Q4_K_M")).path.unlink()
    assert library.remove("org/repo") == 0
    assert [m.name for m in library.list()] == [EMBEDDED]


def test_after_a_damaged_database_the_models_in_our_folder_have_their_names_again(
    settings: Settings, tmp_path: Path
) -> None:
    database = Database(settings.database)
    library = Library(settings, database)
    library.add(_from_hub(settings, "org/repo:Q4_K_M", "x-Q4_K_M-00001-of-00002.gguf", "x-Q4_K_M-00002-of-00002.gguf"))
    library.add(_from_hub(settings, "org/repo:Q8_0", "Q8/x-Q8_0.gguf"))
    library.add(_from_hub(settings, "other/model:F16"))
    before = {m.name: (m.path, m.files, m.size_bytes, m.repository) for m in library.list()}
    _gguf(settings.models / "org" / "repo" / "half-Q2_K-00001-of-00002.gguf")
    (settings.models / "org" / "repo" / "y-Q5_K_M.gguf.partial").write_bytes(b"GGUF")
    database.close()
    settings.database.write_bytes(b"damaged" * 1000)
    database = Database(settings.database)
    assert database.set_aside is not None
    rebuilt = Library(settings, database).list()
    assert {m.name: (m.path, m.files, m.size_bytes, m.repository) for m in rebuilt} == before
    database.close()


def test_the_room_on_the_disk_is_known_before_the_home_is_made(settings: Settings) -> None:
    assert not settings.home.exists()
    assert free_bytes(settings) > 0
    assert not settings.home.exists()


# -- other names, pins, self-tests --


def test_a_model_answers_to_its_aliases_until_they_are_taken_away(library: Library, settings: Settings) -> None:
    library.add(_from_hub(settings, "org/repo:Q4_K_M"))
    assert library.alias("org/repo", "Chat").aliases == ("Chat",)
    library.alias("org/repo", "writer:small")
    assert library.alias("org/repo", "chat").aliases == ("chat", "writer:small")
    assert {library.get(n).name for n in ("chat", "CHAT:latest", "writer:small")} == {"org/repo:Q4_K_M"}
    assert library.unalias("CHAT").aliases == ("writer:small",)
    with pytest.raises(ModelNotFound):
        library.get("chat")
    with pytest.raises(NoSuchAlias):
        library.unalias("chat")
    assert library.alias(EMBEDDED, "petite").name == EMBEDDED
    assert library.get("petite").source == "embedded"


def test_an_alias_is_no_other_model_s_name_and_can_be_typed(library: Library, settings: Settings) -> None:
    library.add(_from_hub(settings, "org/repo:Q4_K_M"))
    library.add(_from_hub(settings, "org/other:Q8_0"))
    library.alias("org/other", "mine")
    for taken in (EMBEDDED, "GRAINE", "mine"):
        with pytest.raises(NameTaken):
            library.alias("org/repo", taken)
    for wrong in ("", "org/x", "../x", "a b", "x.gguf", "a\nb", "é"):
        with pytest.raises(BadName):
            library.alias("org/repo", wrong)
    assert library.free_name("mine") == "mine-2"


def test_a_pinned_model_stays_until_it_is_unpinned(library: Library, settings: Settings) -> None:
    model = library.add(_from_hub(settings, "org/repo:Q4_K_M"))
    assert library.pin("org/repo", True).pinned
    with pytest.raises(Pinned):
        library.remove("org/repo")
    assert model.path.exists()
    assert not library.pin("org/repo", False).pinned
    assert library.remove("org/repo") == 100


def test_a_self_test_is_kept_with_the_model_it_was_made_of(library: Library, settings: Settings) -> None:
    library.add(_from_hub(settings, "org/repo:Q4_K_M"))
    library.tested("org/repo", {"passed": True, "tokens_per_second": 8.5})
    assert library.get("org/repo").self_test == {"passed": True, "tokens_per_second": 8.5}
    library.pin("org/repo", True)
    library.add(_from_hub(settings, "org/repo:Q4_K_M"))  # pulled again: another file, the same pin
    assert (library.get("org/repo").self_test, library.get("org/repo").pinned) == (None, True)


# -- records --


def _again(settings: Settings) -> Library:
    """The library after its database was lost."""
    for file in settings.home.glob("domicile.db*"):
        file.unlink()
    return Library(settings, Database(settings.database))


def _full(library: Library, settings: Settings, tmp_path: Path) -> list[Installed]:
    """A library with one of each thing in it."""
    first = _from_hub(settings, "org/repo:Q4_K_M", "x-Q4_K_M-00001-of-00002.gguf", "x-Q4_K_M-00002-of-00002.gguf")
    library.add(replace(first, licence="mit", revision="a" * 40, task="text-generation", digests=("b" * 64, None)))
    library.add(replace(_from_hub(settings, "org/repo:Q8_0", "deep/er/y-Q8_0.gguf"), licence="apache-2.0"))
    path = _gguf(tmp_path / "mine" / "z.gguf")
    copy = Copy("ollama", "z:1b", path.parent, path, (path,), {"system": "Sois bref."})
    library.add(Installed("z:1b", path, "gguf", 100, "adopted", files=(path,), copies=(copy,)))
    library.add_file(_gguf(tmp_path / "loose" / "w.gguf"))
    library.alias("org/repo:Q4_K_M", "chat")
    library.alias(EMBEDDED, "petite")
    library.pin("z:1b", True)
    library.pin(EMBEDDED, True)
    library.tested("w", {"passed": False})
    library.activate("org/repo:Q8_0")
    library.keep_list("custom", [{"id": "mine", "url": "https://example.org/x.gguf"}])
    return library.list()


def test_a_lost_database_is_built_again_with_everything_that_was_said(
    library: Library, settings: Settings, tmp_path: Path, database: Database
) -> None:
    before = _full(library, settings, tmp_path)
    database.close()
    rebuilt = _again(settings)
    assert rebuilt.rebuilt == 4
    assert rebuilt.list() == before
    assert rebuilt.kept_list("custom") == [{"id": "mine", "url": "https://example.org/x.gguf"}]


def test_a_rebuilt_library_can_be_lost_again(
    library: Library, settings: Settings, tmp_path: Path, database: Database
) -> None:
    before = _full(library, settings, tmp_path)
    database.close()
    _again(settings)
    assert _again(settings).list() == before


def _one_entry(name: str, path: str) -> bytes:
    said = {"name": name, "format": "gguf", "size_bytes": 1, "source": "hub", "path": path, "files": [{"path": path}]}
    return json.dumps({"models": [said]}).encode()


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\x00" * 100,
        b"[" * 100_000,
        b'{"models": 3}',
        b'{"models": [3, null, {}]}',
        _one_entry("x", "../../x"),
        _one_entry("x", "/etc/passwd"),
        _one_entry("x\ny", "x"),
    ],
)
def test_a_damaged_record_costs_what_it_said_and_never_the_files(
    library: Library, settings: Settings, database: Database, damage: bytes
) -> None:
    library.add(replace(_from_hub(settings, "org/repo:Q4_K_M"), licence="mit"))
    database.close()
    (settings.models / "org" / "repo" / "domicile.json").write_bytes(damage)
    (model,) = (m for m in _again(settings).list() if m.source != "embedded")
    assert (model.name, model.size_bytes, model.missing, model.licence) == ("org/repo:Q4_K_M", 100, False, None)


def test_no_record_of_a_model_outlives_it_and_none_is_written_beside_the_files_of_others(
    library: Library, settings: Settings, tmp_path: Path
) -> None:
    for model in _full(library, settings, tmp_path):
        if model.source != "embedded":
            library.pin(model.name, False)
            library.remove(model.name)
    left = [p.relative_to(settings.models).as_posix() for p in settings.models.rglob("*")]
    assert left == ["domicile.json"]  # the embedded model's alias and pin
    assert sorted(p.name for p in tmp_path.glob("[ml]*/*")) == ["w.gguf", "z.gguf"]


def test_a_removal_that_was_cut_short_is_finished_at_the_next_start(
    library: Library, settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = library.add(_from_hub(settings, "org/repo:Q4_K_M", "a.gguf", "b.gguf"))

    class Killed(BaseException):
        pass

    def die(path: Path) -> int:
        if path.name == "b.gguf":
            raise Killed
        path.unlink()
        return 100

    with monkeypatch.context() as patched:
        patched.setattr(module, "_unlink", die)
        with pytest.raises(Killed):
            library.remove("org/repo")
    assert [p.exists() for p in model.files] == [False, True]
    database.close()
    assert [m.name for m in Library(settings, Database(settings.database)).list()] == [EMBEDDED]
    assert not (settings.models / "org").exists()


def test_a_file_with_another_name_on_the_disk_frees_nothing(
    library: Library, settings: Settings, tmp_path: Path
) -> None:
    model = library.add(_from_hub(settings, "org/repo:Q4_K_M"))
    (tmp_path / "other name").hardlink_to(model.path)
    assert library.remove("org/repo") == 0
    assert (tmp_path / "other name").exists()
