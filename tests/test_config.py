"""What can be set, from where, and what is said of a value that cannot be used."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from domicile import i18n
from domicile.config import SETTINGS, Settings, byte_count, home_folder, load, seconds
from domicile.errors import BadField


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def _read(home: Path, toml: str = "", **environ: str) -> Settings:
    if toml:
        (home / "config.toml").write_text(toml, "utf-8")
    return load({"DOMICILE_HOME": str(home), **environ})


def test_the_environment_beats_the_file_which_beats_the_default(home: Path) -> None:
    assert _read(home).port == 11435
    assert _read(home, "port = 1234").port == 1234
    assert _read(home, "port = 1234", DOMICILE_PORT="4321").port == 4321
    assert load({"DOMICILE_HOME": str(home), "DOMICILE_PORT": "4321"}, port=9).port == 9


def test_an_empty_variable_is_no_wish(home: Path) -> None:
    assert _read(home, "port = 1234", DOMICILE_PORT="").port == 1234


def test_an_override_that_was_not_given_changes_nothing(home: Path) -> None:
    assert load({"DOMICILE_HOME": str(home)}, port=None).port == 11435


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("300", 300),
        (300, 300),
        (0, 0),
        (2.5, 2.5),
        ("0.5", 0.5),
        ("90s", 90),
        ("5m", 300),
        ("1h30m", 5400),
        ("1H", 3600),
        ("1d", 86400),
        ("250ms", 0.25),
        ("1m30", 90),
        (" 10m ", 600),
        (-1, math.inf),
        ("-1", math.inf),
        ("-5m", math.inf),
        ("forever", math.inf),
        ("inf", math.inf),
    ],
)
def test_a_duration_is_read_as_people_write_it(said: object, read: float) -> None:
    assert seconds(said) == read


def _refused(read: Callable[[object], float], said: object) -> bool:
    try:
        read(said)
    except ValueError:
        return True
    return False


BAD_DURATIONS = ["", " ", "m", "5x", "five", "-", "1.2.3", "5 minutes", "s5", "nan", math.nan, True, None, [5], 10**400]


@pytest.mark.parametrize("said", BAD_DURATIONS, ids=[ascii(b)[:20] for b in BAD_DURATIONS])
def test_what_is_no_duration_is_refused(said: object) -> None:
    assert _refused(seconds, said)


@pytest.mark.parametrize(
    ("said", "read"),
    [
        (1073741824, 2**30),
        ("0", 0),
        ("8GiB", 8 * 2**30),
        ("8 gib", 8 * 2**30),
        ("500 MB", 500_000_000),
        ("500 Mo", 500_000_000),
        ("1.5k", 1500),
        ("2Ti", 2 * 2**40),
        ("64m", 64_000_000),
    ],
)
def test_a_size_is_read_as_people_write_it(said: object, read: int) -> None:
    assert byte_count(said) == read


BAD_SIZES = ["", "GiB", "-1", "-5MB", "5XB", "many", "inf", "nan", "1e999", "5kk", True, None]


@pytest.mark.parametrize("said", BAD_SIZES, ids=[ascii(b) for b in BAD_SIZES])
def test_what_is_no_size_is_refused(said: object) -> None:
    assert _refused(byte_count, said)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DOMICILE_PORT", "eighty"),
        ("DOMICILE_PORT", "-1"),
        ("DOMICILE_PORT", "65536"),
        ("DOMICILE_KEEP_ALIVE", "soon"),
        ("DOMICILE_CONTEXT", "4k"),
        ("DOMICILE_SLOTS", "1.5"),
        ("DOMICILE_ENGINE_MEMORY", "1e999"),
        ("DOMICILE_BODY_LIMIT", "inf"),
        ("HTTP_READ_TIMEOUT", "nan"),
    ],
)
def test_a_bad_value_is_refused_naming_the_variable_it_came_from(home: Path, variable: str, value: str) -> None:
    with pytest.raises(BadField) as refused:
        _read(home, **{variable: value})
    assert refused.value.facts["field"] == variable
    assert value in i18n.error_text("en", refused.value)[0]


@pytest.mark.parametrize("line", ['port = "eighty"', "port = true", 'keep_alive = "soon"', "body_limit = inf"])
def test_a_bad_value_in_the_file_is_refused_naming_the_file(home: Path, line: str) -> None:
    with pytest.raises(BadField) as refused:
        _read(home, line)
    assert refused.value.facts["field"] == str(home / "config.toml")


def test_a_bad_value_of_the_command_line_is_refused_naming_the_setting(home: Path) -> None:
    for port in (-1, 65536):
        with pytest.raises(BadField) as refused:
            load({"DOMICILE_HOME": str(home)}, port=port)
        assert refused.value.facts["field"] == "port"


def test_an_unknown_key_in_the_file_is_refused_with_those_that_exist(home: Path) -> None:
    with pytest.raises(BadField) as refused:
        _read(home, "prot = 1234")
    assert refused.value.facts["field"] == "prot"
    assert "port" in str(refused.value.facts["problem"])


@pytest.mark.parametrize("content", [b"port = ", b"\xff\xfe\x00", b"port = 1\nport = 2", b"[", b"= 3"])
def test_a_broken_file_is_refused_naming_it(home: Path, content: bytes) -> None:
    (home / "config.toml").write_bytes(content)
    with pytest.raises(BadField) as refused:
        _read(home)
    assert refused.value.facts["field"] == str(home / "config.toml")


def test_a_list_is_a_list_in_the_file_and_commas_in_the_environment(home: Path) -> None:
    expected = ("http://a:1", "http://b:2")
    assert _read(home, 'allowed_origins = ["http://a:1", " http://b:2 ", ""]').allowed_origins == expected
    assert _read(home, DOMICILE_ALLOWED_ORIGINS="http://a:1, http://b:2,,").allowed_origins == expected


def test_the_home_may_start_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home_folder({"DOMICILE_HOME": "~/models house"}) == tmp_path / "models house"
    assert load({"DOMICILE_HOME": "~/x"}).database == tmp_path / "x" / "domicile.db"


def test_the_home_of_nobody_is_refused_naming_the_variable() -> None:
    with pytest.raises(BadField) as refused:
        load({"DOMICILE_HOME": "~no-such-person-here/x"})
    assert refused.value.facts["field"] == "DOMICILE_HOME"


def test_a_relative_home_is_made_absolute_and_without_one_the_system_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert home_folder({"DOMICILE_HOME": "here"}) == tmp_path / "here"
    assert home_folder({}).is_absolute()
    assert "domicile" in str(home_folder({"DOMICILE_HOME": "  "})).lower()


def test_reading_the_settings_makes_no_folder(tmp_path: Path) -> None:
    settings = load({"DOMICILE_HOME": str(tmp_path / "new")})
    assert not settings.home.exists()
    places = [settings.models, settings.logs, settings.database, settings.doorplate]
    assert all(place.is_relative_to(settings.home) for place in places)


def test_every_setting_has_its_sentence_its_field_and_its_own_variable() -> None:
    names = {setting.name for setting in SETTINGS}
    assert names | {"home"} == {field.name for field in fields(Settings)}
    assert len({setting.env for setting in SETTINGS}) == len(SETTINGS)
    for lang in i18n.LANGUAGES:
        said = {key.removeprefix("setting.") for key in i18n.words(lang) if key.startswith("setting.")}
        assert said == names


def test_every_default_is_what_reading_it_gives() -> None:
    for setting in SETTINGS:
        assert setting.read(setting.default) == setting.default
        assert type(setting.read(setting.default)) is type(setting.default)


def test_what_must_stay_secret_is_marked() -> None:
    assert {setting.name for setting in SETTINGS if setting.secret} == {
        "api_key",
        "civitai_key",
        "hub_token",
        "redis_url",
        "webhook",
    }
