"""SETTINGS: one table of everything that can be set, and where the folders are.

Each setting can be given, strongest first, by an environment variable, by `config.toml` in the house's folder,
or by its default. Nothing is read when this module is imported; folders are made when something is written.
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from domicile.errors import BadField


def _text(value: object) -> str:
    return str(value)


def _count(value: object) -> int:
    number = int(str(value))
    if number < 0:
        raise ValueError(value)
    return number


def _port(value: object) -> int:
    number = _count(value)
    if number > 65535:
        raise ValueError(value)
    return number


def _flag(value: object) -> bool:
    said = str(value).strip().lower()
    if said not in {"1", "0", "true", "false", "yes", "no", "on", "off"}:
        raise ValueError(value)
    return said in {"1", "true", "yes", "on"}


def _strategy(value: object) -> str:
    said = str(value).strip().lower()
    if said not in STRATEGIES:
        raise ValueError(value)
    return said


def _build(value: object) -> str:
    """Which build of llama.cpp wakes models."""
    said = str(value).strip().lower()
    if said not in LLAMA_BUILDS:
        raise ValueError(value)
    return said


LLAMA_BUILDS = ("auto", "wheel", "native", "server")
"""The fastest that was measured here; the wheel; the one compiled here; a `llama-server` of this machine's."""
STRATEGIES = ("home", "home-then-away", "away")
"""Who answers: this machine alone; a target when this machine cannot; a target."""


def _overflow(value: object) -> str:
    """What becomes of a prompt that is longer than the context, unless the caller says otherwise."""
    said = str(value).strip().lower()
    if said not in {"refuse", "trim"}:
        raise ValueError(value)
    return said


def _names(value: object) -> tuple[str, ...]:
    items = value if isinstance(value, (list, tuple)) else str(value).split(",")
    return tuple(str(item).strip() for item in items if str(item).strip())


def _folders(value: object) -> tuple[str, ...]:
    """A list, or one text whose parts stand between the system's separators (`:`, on Windows `;`)."""
    items = value if isinstance(value, (list, tuple)) else str(value).split(os.pathsep)
    return tuple(str(item).strip() for item in items if str(item).strip())


def _folder(value: object) -> str:
    """A folder that is there, by its whole path; or none."""
    said = str(value).strip()
    if said and not Path(said).expanduser().is_dir():
        raise ValueError(value)
    return str(Path(said).expanduser().absolute()) if said else ""


def seconds(value: object) -> float:
    """Read a duration as people write it: `300`, `"5m"`, `"1h30m"`, `"90s"`, `"250ms"`; negative means for ever."""
    if isinstance(value, bool):
        raise ValueError(value)
    if isinstance(value, (int, float)):
        if value < 0 or value == math.inf:
            return math.inf
        if not value <= 1e15:  # longer than any clock counts, or NaN
            raise ValueError(value)
        return float(value)
    said = str(value).strip().lower()
    if said in {"forever", "inf", "always"}:
        return math.inf
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    total, number = 0.0, ""
    rest = said.removeprefix("-")
    if not rest:
        raise ValueError(value)
    while rest:
        if rest[0].isdigit() or rest[0] == ".":
            number, rest = number + rest[0], rest[1:]
            continue
        unit = next((u for u in ("ms", "s", "m", "h", "d") if rest.startswith(u)), None)
        if unit is None or not number:
            raise ValueError(value)
        total += float(number) * units[unit]
        number, rest = "", rest[len(unit) :]
    if number:
        total += float(number)
    return math.inf if said.startswith("-") else total


_UNITS = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
    "ti": 2**40,
}


def byte_count(value: object) -> int:
    """Read a size: `1073741824`, `"8GiB"`, `"500 MB"`."""
    said = str(value).strip().lower().replace(" ", "").removesuffix("b").removesuffix("o")
    digits = said.rstrip("kmgti")
    unit = said[len(digits) :]
    if unit not in _UNITS or not digits or not math.isfinite(number := float(digits) * _UNITS[unit]):
        raise ValueError(value)
    return _count(int(number))


def rate(value: object) -> int:
    """Read a speed, in bytes a second: `5MB/s`, `"500 KiB"`, `0` for no limit."""
    said = str(value).strip()
    return byte_count(said[:-2] if said.lower().endswith("/s") else said)


def hours(value: object) -> str:
    """Read the hours of a day as people write them, in local time: `23:00-07:00`, `23-7`, `23h-7h30`, `always`.

    Returns `23:00-07:00`, or `always` (what an empty text says as well).
    """
    said = str(value).strip().lower().replace(" ", "").replace("–", "-")
    if said in {"", "always", "toujours"}:
        return "always"
    ends = [re.fullmatch(r"(\d{1,2})(?:[:h](\d{2})?)?", end) for end in said.split("-")]
    if len(ends) != 2:
        raise ValueError(value)
    shown = []
    for end in ends:
        if end is None:
            raise ValueError(value)
        hour, minute = int(end[1]), int(end[2] or 0)
        if (hour, minute) == (24, 0):
            hour = 0
        if hour > 23 or minute > 59:
            raise ValueError(value)
        shown.append(f"{hour:02d}:{minute:02d}")
    return "always" if shown[0] == shown[1] else "-".join(shown)


def _web_address(value: object) -> str:
    """An http(s) address with a host and without a password in it, or nothing."""
    said = str(value).strip()
    parts = urlsplit(said)
    if said and (parts.scheme not in {"http", "https"} or not parts.hostname or parts.password):
        raise ValueError(value)
    return said


TORCH_BUILDS = ("auto", "cpu", "cuda")


def _index(value: object) -> str:
    """An index of packages: an http(s) address as above, or a `file:` one; or nothing."""
    said = str(value).strip()
    return said if said.startswith("file:///") else _web_address(said)


def _torch_build(value: object) -> str:
    """`auto`: CUDA's where an NVIDIA card is; else `cpu` or `cuda` always."""
    said = str(value).strip().lower()
    if said not in TORCH_BUILDS:
        raise ValueError(value)
    return said


def _hours_of_sound(value: object) -> float:
    """Hours, at least a minute and at most a day."""
    hours_said = float(str(value).strip())
    if not 1 / 60 <= hours_said <= 24:
        raise ValueError(value)
    return hours_said


def _compute(value: object) -> str:
    said = str(value).strip().lower()
    if said not in {"int8", "float32"}:
        raise ValueError(value)
    return said


def _notices(value: object) -> str:
    said = str(value).strip().lower()
    if said not in {"auto", "on", "off"}:
        raise ValueError(value)
    return said


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of SETTINGS. Its sentence is in the locale under `setting.<name>`."""

    name: str
    env: str
    default: Any
    read: Callable[[object], Any] = _text
    secret: bool = False


SETTINGS: tuple[Setting, ...] = (
    Setting("host", "DOMICILE_HOST", "127.0.0.1"),
    Setting("port", "DOMICILE_PORT", 11435, _port),
    Setting("lang", "DOMICILE_LANG", ""),
    Setting("api_key", "DOMICILE_API_KEY", "", secret=True),
    Setting("session_idle", "DOMICILE_SESSION_IDLE", 7 * 86400.0, seconds),
    Setting("session_life", "DOMICILE_SESSION_LIFE", 30 * 86400.0, seconds),
    Setting("allowed_hosts", "DOMICILE_ALLOWED_HOSTS", (), _names),
    Setting("allowed_origins", "DOMICILE_ALLOWED_ORIGINS", (), _names),
    Setting("keep_alive", "DOMICILE_KEEP_ALIVE", 300.0, seconds),
    Setting("wake_timeout", "DOMICILE_WAKE_TIMEOUT", 300.0, seconds),
    Setting("context", "DOMICILE_CONTEXT", 8192, _count),
    Setting("context_overflow", "DOMICILE_CONTEXT_OVERFLOW", "refuse", _overflow),
    Setting("conversation_cache", "DOMICILE_CONVERSATION_CACHE", 4 * 2**30, byte_count),
    Setting("attachments", "DOMICILE_ATTACHMENTS", 4 * 2**30, byte_count),
    Setting("slots", "DOMICILE_SLOTS", 0, _count),
    Setting("threads", "DOMICILE_THREADS", 0, _count),
    Setting("engine_memory", "DOMICILE_ENGINE_MEMORY", 0, byte_count),
    Setting("models_memory", "DOMICILE_MODELS_MEMORY", 0, byte_count),
    Setting("queue", "DOMICILE_QUEUE", 512, _count),
    Setting("queue_wait", "DOMICILE_QUEUE_WAIT", 300.0, seconds),
    Setting("answer_limit", "DOMICILE_ANSWER_LIMIT", 600.0, seconds),
    Setting("speech_hours", "DOMICILE_SPEECH_HOURS", 6.0, _hours_of_sound),
    Setting("speech_upload", "DOMICILE_SPEECH_UPLOAD", 2 * 2**30, byte_count),
    Setting("speech_time", "DOMICILE_SPEECH_TIME", 4 * 3600.0, seconds),
    Setting("speech_compute", "DOMICILE_SPEECH_COMPUTE", "int8", _compute),
    Setting("selftest", "DOMICILE_SELFTEST", True, _flag),
    Setting("hub", "HF_ENDPOINT", "https://huggingface.co"),
    Setting("hub_token", "HF_TOKEN", "", secret=True),
    Setting("ollama_registry", "DOMICILE_OLLAMA_REGISTRY", "https://registry.ollama.ai"),
    Setting("civitai", "DOMICILE_CIVITAI", "https://civitai.com"),
    Setting("civitai_key", "CIVITAI_TOKEN", "", secret=True),
    Setting("download_roots", "DOMICILE_DOWNLOAD_ROOTS", (), _folders),
    Setting("connect_timeout", "HTTP_CONNECT_TIMEOUT", 10.0, seconds),
    Setting("read_timeout", "HTTP_READ_TIMEOUT", 30.0, seconds),
    Setting("model_folders", "DOMICILE_MODEL_FOLDERS", (), _folders),
    Setting("watch", "DOMICILE_WATCH", 10.0, seconds),
    Setting("hf_home", "HF_HOME", ""),
    Setting("hf_cache", "HF_HUB_CACHE", ""),
    Setting("ollama_models", "OLLAMA_MODELS", ""),
    Setting("ollama_host", "OLLAMA_HOST", "127.0.0.1:11434"),
    Setting("ollama_elsewhere", "DOMICILE_OLLAMA_ELSEWHERE", False, _flag),
    Setting("llama_cache", "LLAMA_CACHE", ""),
    Setting("wheels", "DOMICILE_WHEELS", "", _folder),
    Setting("llama_server", "DOMICILE_LLAMA_SERVER", ""),
    Setting("llama_build", "DOMICILE_LLAMA_BUILD", "auto", _build),
    Setting("torch_index", "DOMICILE_TORCH_INDEX", "", _index),
    Setting("torch_build", "DOMICILE_TORCH_BUILD", "auto", _torch_build),
    Setting("offline", "DOMICILE_OFFLINE", False, _flag),
    Setting("strategy", "DOMICILE_STRATEGY", "home", _strategy),
    Setting("first_token", "DOMICILE_FIRST_TOKEN", 60.0, seconds),
    Setting("body_limit", "DOMICILE_BODY_LIMIT", 32 * 2**20, byte_count),
    Setting("downloads", "DOMICILE_DOWNLOADS", 3, _count),
    Setting("download_limit", "DOMICILE_DOWNLOAD_LIMIT", 0, rate),
    Setting("download_hours", "DOMICILE_DOWNLOAD_HOURS", "always", hours),
    Setting("webhook", "DOMICILE_WEBHOOK", "", _web_address, secret=True),
    Setting("notices", "DOMICILE_NOTICES", "auto", _notices),
    Setting("redis_url", "DOMICILE_REDIS_URL", "", secret=True),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting, read. Durations in seconds (`math.inf` is for ever), sizes in bytes, 0 is "chosen for you"."""

    home: Path
    host: str
    port: int
    lang: str
    api_key: str
    session_idle: float
    session_life: float
    allowed_hosts: tuple[str, ...]
    allowed_origins: tuple[str, ...]
    keep_alive: float
    wake_timeout: float
    context: int
    context_overflow: str
    conversation_cache: int
    attachments: int
    slots: int
    threads: int
    engine_memory: int
    models_memory: int
    queue: int
    queue_wait: float
    answer_limit: float
    speech_hours: float
    speech_upload: int
    speech_time: float
    speech_compute: str
    selftest: bool
    hub: str
    hub_token: str
    ollama_registry: str
    civitai: str
    civitai_key: str
    download_roots: tuple[str, ...]
    connect_timeout: float
    read_timeout: float
    model_folders: tuple[str, ...]
    watch: float
    hf_home: str
    hf_cache: str
    ollama_models: str
    ollama_host: str
    ollama_elsewhere: bool
    llama_cache: str
    wheels: str
    llama_server: str
    llama_build: str
    torch_index: str
    torch_build: str
    offline: bool
    strategy: str
    first_token: float
    body_limit: int
    downloads: int
    download_limit: int
    download_hours: str
    webhook: str
    notices: str
    redis_url: str

    @property
    def models(self) -> Path:
        return self.home / "models"

    @property
    def engines(self) -> Path:
        """The environments of extras: one folder each."""
        return self.home / "engines"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def conversations(self) -> Path:
        """States of conversations: what models have read, so that going on does not read it again."""
        return self.home / "conversations"

    @property
    def chats(self) -> Path:
        """What people and models said to each other, for the owner of the house alone (0600)."""
        return self.home / "chats.db"

    @property
    def sound(self) -> Path:
        """Files of sound while they are being heard."""
        return self.home / "cache" / "sound"

    @property
    def accounts(self) -> Path:
        """Who may come in beyond loopback: hashes and digests alone, for the owner of the house (0600)."""
        return self.home / "accounts.db"

    @property
    def attachments_folder(self) -> Path:
        """The files beside conversations, by their sha256."""
        return self.home / "attachments"

    @property
    def database(self) -> Path:
        return self.home / "domicile.db"

    @property
    def target_keys(self) -> Path:
        """The keys of targets, for the owner of the house alone (0600)."""
        return self.home / "target_keys.json"

    @property
    def doorplate(self) -> Path:
        """Says where the open house listens: written by `serve`, read by every command."""
        return self.home / "house.json"


def home_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """The one folder all state lives under: `DOMICILE_HOME`, else where the system keeps such things."""
    named = environ.get("DOMICILE_HOME", "").strip()
    if named:
        try:
            return Path(named).expanduser().absolute()
        except RuntimeError as trouble:  # ~somebody who has no home here
            raise BadField(field="DOMICILE_HOME", problem=named) from trouble
    from platformdirs import user_data_path

    return user_data_path("domicile", appauthor=False)


def load(environ: Mapping[str, str] = os.environ, **overrides: Any) -> Settings:
    """Read all SETTINGS. Raises `BadField` naming the setting and where its bad value came from."""
    home = home_folder(environ)
    file = home / "config.toml"
    try:
        table = tomllib.loads(file.read_text("utf-8")) if file.is_file() else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as trouble:
        raise BadField(field=str(file), problem=str(trouble)) from trouble
    unknown = sorted(set(table) - {s.name for s in SETTINGS})
    if unknown:
        raise BadField(field=unknown[0], problem=f"config.toml: {', '.join(s.name for s in SETTINGS)}")
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        places = (
            (setting.name, overrides.get(setting.name)),
            (setting.env, environ.get(setting.env) or None),
            (str(file), table.get(setting.name)),
        )
        where, given = next((p for p in places if p[1] is not None), ("", None))
        try:
            values[setting.name] = setting.default if given is None else setting.read(given)
        except ValueError as trouble:
            raise BadField(field=where, problem=repr(given)) from trouble
    return Settings(home=home, **values)
