"""The OpenAPI 3.1 document of the house, made from ROUTES and from the schemas of what bodies must hold."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

from domicile import __version__
from domicile.config import SETTINGS
from domicile.tunable import TUNABLE

_TEXT = {"type": "string"}
_RATE = {"type": ["string", "number", "null"], "description": "bytes a second: 5MB/s, or a number"}
_HOURS = {"type": ["string", "null"], "description": "23:00-07:00 in local time, or always"}
_PRIORITY = {
    "oneOf": [
        {"type": "string", "enum": ["low", "normal", "high"]},
        {"type": "integer", "minimum": -100, "maximum": 100},
    ]
}
_SAMPLING: dict[str, Any] = {
    "temperature": {"type": "number", "minimum": 0},
    "top_p": {"type": "number", "minimum": 0, "maximum": 1},
    "seed": {"type": "integer"},
    "stop": {"oneOf": [_TEXT, {"type": "array", "items": _TEXT, "maxItems": 64}]},
    "stream": {"type": "boolean", "default": False},
    "stream_options": {"type": "object", "properties": {"include_usage": {"type": "boolean"}}},
    "max_tokens": {"type": "integer", "minimum": -1},
}

_LIST: dict[str, Any] = {"type": "array"}
_OLLAMA: dict[str, Any] = {
    "model": _TEXT,
    "stream": {"type": "boolean", "default": True},
    "format": {"type": ["string", "object"]},
    "options": {"type": "object"},
    "keep_alive": {"type": ["string", "number"]},
    "think": {"type": ["boolean", "string"]},
}

_NULL_TEXT = {"type": ["string", "null"]}
_STRATEGY = {"type": ["string", "null"], "enum": ["home", "home-then-away", "away", None]}
_CHAT: dict[str, Any] = {
    **dict.fromkeys(("title", "folder", "model", "system"), _NULL_TEXT),
    "pinned": {"type": "boolean"},
    "archived": {"type": "boolean"},
    "parameters": {"type": "object"},
    "strategy": _STRATEGY,
}

_SOUND = {
    "file": {"type": "string", "format": "binary"},
    "model": {**_TEXT, "default": "whisper-1"},
    "prompt": _TEXT,
    "response_format": {"type": "string", "enum": ["json", "text", "srt", "vtt", "verbose_json"], "default": "json"},
    "temperature": {"type": "number", "minimum": 0, "maximum": 1},
    "stream": {"type": "boolean", "default": False},
    "hotwords": _TEXT,
    "vad_filter": {"type": "boolean", "default": True},
    "beam_size": {"type": "integer", "minimum": 1, "maximum": 16, "default": 5},
    "fallback": {"type": "boolean", "default": True},
    "seed": {"type": "integer", "minimum": 0},
}

_FORMS = frozenset({"transcription", "translation"})
"""Bodies that are forms with a file."""

_PASSWORD = {"type": "string", "minLength": 10, "maxLength": 1024, "format": "password"}
_SET = {"type": ["string", "number", "boolean", "array", "null"]}
_ROLE = {"type": "string", "enum": ["admin", "user"]}

BODIES: dict[str, dict[str, Any]] = {
    "account_first": {
        "type": "object",
        "required": ["code", "name", "password"],
        "properties": {"code": _TEXT, "name": _TEXT, "password": _PASSWORD},
    },
    "sign_in": {
        "type": "object",
        "required": ["name", "password"],
        "properties": {"name": _TEXT, "password": {"type": "string", "format": "password"}},
    },
    "password": {
        "type": "object",
        "required": ["old", "new"],
        "properties": {"old": {"type": "string", "format": "password"}, "new": _PASSWORD},
    },
    "key_new": {"type": "object", "required": ["name"], "properties": {"name": _TEXT}},
    "account_new": {
        "type": "object",
        "required": ["name", "password"],
        "properties": {"name": _TEXT, "password": _PASSWORD, "role": _ROLE},
    },
    "account_change": {"type": "object", "properties": {"role": _ROLE, "password": _PASSWORD}},
    "house_settings": {"type": "object", "properties": {s.name: _SET for s in SETTINGS}},
    "chat_new": {
        "type": "object",
        "properties": {**_CHAT, "preset": _TEXT, "temporary": {"type": "boolean", "default": False}},
    },
    "chat_change": {"type": "object", "properties": {**_CHAT, "leaf": _TEXT}},
    "chat_answer": {
        "type": "object",
        "properties": {
            **dict.fromkeys(("text", "parent", "edit", "regenerate", "continue", "model"), _TEXT),
            "attachments": {"type": "array", "items": _TEXT, "maxItems": 32},
            "models": {"type": "array", "items": _TEXT, "maxItems": 4},
            "parameters": {"type": "object"},
            "strategy": _STRATEGY,
        },
    },
    "chat_message": {"type": "object", "properties": {"message": _TEXT}},
    "chat_messages": {
        "type": "object",
        "required": ["messages"],
        "properties": {
            "messages": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "required": ["role"],
                    "properties": {
                        "role": {"type": "string", "enum": ["user", "assistant"]},
                        **dict.fromkeys(("text", "reasoning", "model", "served_by"), _TEXT),
                    },
                },
            }
        },
    },
    "chat_text": {"type": "object", "required": ["text"], "properties": {"text": _TEXT}},
    "chats_delete": {
        "type": "object",
        "properties": {"ids": {"type": "array", "items": _TEXT}, "all": {"type": "boolean", "default": False}},
    },
    "chats_import": {
        "type": ["object", "array"],
        "properties": {key: {"type": "array"} for key in ("chats", "attachments", "folders", "presets")},
    },
    "chat_folder": {"type": "object", "required": ["name"], "properties": {"name": _TEXT}},
    "chat_preset": {
        "type": "object",
        "properties": {"name": _TEXT, "model": _NULL_TEXT, "system": _NULL_TEXT, "parameters": {"type": "object"}},
    },
    "images": {
        "type": "object",
        "required": ["prompt"],
        "properties": {
            **dict.fromkeys(("prompt", "model", "negative_prompt", "sampler", "image", "mask"), _TEXT),
            "n": {"type": "integer", "minimum": 1, "maximum": 16, "default": 1},
            "size": {"type": "string", "examples": ["auto", "512x512", "1024x1024"]},
            "steps": {"type": "integer", "minimum": 1, "maximum": 200},
            "guidance": {"type": "number", "minimum": 0, "maximum": 50},
            "seed": {"type": "integer", "description": "-1 or none: any"},
            "strength": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.75},
            "loras": {
                "type": "array",
                "maxItems": 8,
                "items": {"type": "object", "properties": {"name": _TEXT, "scale": {"type": "number", "default": 1}}},
            },
            "response_format": {"type": "string", "enum": ["b64_json", "url"], "default": "b64_json"},
            "stream": {"type": "boolean", "default": False},
            "partial_images": {"type": "integer", "minimum": 0, "maximum": 3, "default": 0},
        },
    },
    "chat": {
        "type": "object",
        "required": ["model", "messages"],
        "properties": {
            "model": _TEXT,
            "messages": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "required": ["role"],
                    "properties": {"role": _TEXT, "content": {"type": ["string", "array", "null"]}},
                },
            },
            **_SAMPLING,
            "logprobs": {"type": "boolean"},
            "top_logprobs": {"type": "integer", "minimum": 0, "maximum": 20},
            "tools": {"type": "array", "items": {"type": "object"}},
            "tool_choice": {"type": ["string", "object"]},
            "response_format": {"type": "object"},
            "strategy": {"type": "string", "enum": ["home", "home-then-away", "away"]},
            "context": {"type": "string", "enum": ["refuse", "trim"], "default": "refuse"},
        },
        "additionalProperties": True,
    },
    "completion": {
        "type": "object",
        "required": ["model", "prompt"],
        "properties": {"model": _TEXT, "prompt": {"type": ["string", "array"]}, **_SAMPLING},
        "additionalProperties": True,
    },
    "rerank": {
        "type": "object",
        "required": ["model", "query"],
        "properties": {
            "model": _TEXT,
            "query": _TEXT,
            "documents": {"type": "array", "minItems": 1, "maxItems": 2048, "items": {"type": ["string", "object"]}},
            "texts": {"type": "array", "minItems": 1, "maxItems": 2048, "items": _TEXT},
            "top_n": {"type": "integer", "minimum": 1},
            "return_documents": {"type": "boolean", "default": False},
            "raw_scores": {"type": "boolean", "default": False},
            "max_tokens_per_doc": {"type": "integer", "minimum": 1},
            "truncate": {"type": "boolean", "default": False},
        },
    },
    "embeddings": {
        "type": "object",
        "required": ["model", "input"],
        "properties": {
            "model": _TEXT,
            "input": {"type": ["string", "array"]},
            "encoding_format": {"type": "string", "enum": ["float", "base64"]},
            "dimensions": {"type": "integer", "minimum": 1},
        },
        "additionalProperties": True,
    },
    "transcription": {
        "type": "object",
        "required": ["file"],
        "properties": {
            **_SOUND,
            "language": {**_TEXT, "description": "fr, en, de ...; left out: it is found out"},
            "timestamp_granularities[]": {"type": "array", "items": {"type": "string", "enum": ["word", "segment"]}},
        },
    },
    "translation": {"type": "object", "required": ["file"], "properties": _SOUND},
    "responses": {
        "type": "object",
        "required": ["model", "input"],
        "properties": {
            "model": _TEXT,
            "input": {"type": ["string", "array"]},
            "instructions": _TEXT,
            "previous_response_id": _TEXT,
            "store": {"type": "boolean", "default": True},
            "stream": {"type": "boolean", "default": False},
            "max_output_tokens": {"type": "integer"},
            "tools": {"type": "array", "items": {"type": "object"}},
            "text": {"type": "object"},
            "reasoning": {"type": "object"},
        },
        "additionalProperties": True,
    },
    "messages": {
        "type": "object",
        "required": ["model", "messages"],
        "properties": {
            "model": _TEXT,
            "max_tokens": {"type": "integer", "minimum": 1},
            "messages": {"type": "array", "items": {"type": "object"}},
            "system": {"type": ["string", "array"]},
            "stop_sequences": {"type": "array", "items": _TEXT, "maxItems": 64},
            "stream": {"type": "boolean", "default": False},
            "tools": {"type": "array", "items": {"type": "object"}},
            "tool_choice": {"type": "object"},
            "thinking": {"type": "object"},
        },
        "additionalProperties": True,
    },
    "named": {"type": "object", "required": ["model"], "properties": {"model": _TEXT}},
    "ollama_chat": {
        "type": "object",
        "required": ["model"],
        "properties": {"messages": {"type": "array", "items": {"type": "object"}}, "tools": _LIST, **_OLLAMA},
        "additionalProperties": True,
    },
    "ollama_generate": {
        "type": "object",
        "required": ["model"],
        "properties": {
            **dict.fromkeys(("prompt", "system", "suffix"), _TEXT),
            "raw": {"type": "boolean"},
            "images": _LIST,
            "context": _LIST,
            **_OLLAMA,
        },
        "additionalProperties": True,
    },
    "ollama_embed": {
        "type": "object",
        "required": ["model", "input"],
        "properties": {"model": _TEXT, "input": {"type": ["string", "array"]}, "dimensions": {"type": "integer"}},
    },
    "ollama_embeddings": {
        "type": "object",
        "required": ["model", "prompt"],
        "properties": {"model": _TEXT, "prompt": _TEXT},
    },
    "ollama_pull": {
        "type": "object",
        "required": ["model"],
        "properties": {"model": _TEXT, "stream": {"type": "boolean", "default": True}},
    },
    "ollama_create": {
        "type": "object",
        "required": ["model"],
        "properties": {
            **dict.fromkeys(("model", "from", "modelfile", "template", "system"), _TEXT),
            **{name: {"type": "object"} for name in ("files", "adapters", "parameters")},
            "license": {"type": ["string", "array"]},
            "messages": _LIST,
            "stream": {"type": "boolean", "default": True},
        },
    },
    "ollama_copy": {
        "type": "object",
        "required": ["source", "destination"],
        "properties": {"source": _TEXT, "destination": _TEXT},
    },
    "generate": {
        "type": "object",
        "required": ["prompt"],
        "properties": {
            **dict.fromkeys(("prompt", "system_prompt", "model"), _TEXT),
            "max_length": {"type": "integer"},
            "temperature": {"type": "number"},
            "top_p": {"type": "number"},
        },
    },
    "pull": {
        "type": "object",
        "required": ["model"],
        "properties": {
            "model": _TEXT,
            "limit": _RATE,
            "hours": _HOURS,
            "priority": _PRIORITY,
            "detach": {"type": "boolean", "default": False},
        },
    },
    "limit": {"type": "object", "properties": {"limit": _RATE}},
    "hours": {"type": "object", "properties": {"hours": _HOURS}},
    "priority": {"type": "object", "properties": {"priority": _PRIORITY}},
    "hf_pull": {
        "type": "object",
        "required": ["model_id", "filename"],
        "properties": {"model_id": _TEXT, "filename": _TEXT, "output_dir": _TEXT},
    },
    "place": {
        "type": "object",
        "required": ["place", "confirmed"],
        "properties": {"place": _TEXT, "confirmed": {"type": "boolean"}},
    },
    "custom": {
        "type": "object",
        "required": ["id", "name", "url"],
        "properties": {
            "id": _TEXT,
            "name": _TEXT,
            "url": _TEXT,
            "size": _TEXT,
            "description": _TEXT,
            "kind": {"type": "string", "enum": ["gguf", "safetensors", "onnx", "mlc", "remote"]},
            "model_lib": _TEXT,
            "unchecked": {"type": "boolean", "default": False},
        },
    },
    "customs": {
        "type": "object",
        "properties": {"models": {"type": "array"}, "customModels": {"type": ["array", "string"]}},
    },
    "link": {"type": "object", "required": ["link"], "properties": {"link": _TEXT}},
    "path": {"type": "object", "required": ["path"], "properties": {"path": _TEXT}},
    "settings": {
        "type": "object",
        "properties": {name: {"type": ["string", "number", "boolean", "array", "null"]} for name in TUNABLE},
        "additionalProperties": False,
    },
    "wake": {
        "type": "object",
        "properties": {"keep_alive": {"type": ["string", "number"]}, "context": {"type": "integer"}},
    },
    "alias": {"type": "object", "required": ["alias"], "properties": {"alias": _TEXT}},
    "adopt": {
        "type": "object",
        "properties": {
            "models": {"type": "array", "items": _TEXT, "minItems": 1},
            "path": _TEXT,
            "all": {"type": "boolean"},
        },
    },
    "export": {
        "type": "object",
        "required": ["to"],
        "properties": {
            "to": {"type": "string", "enum": ["ollama"]},
            "as": _TEXT,
            "via": {"type": "string", "enum": ["auto", "link", "api"], "default": "auto"},
            "force": {"type": "boolean", "default": False},
        },
    },
    "target": {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": _TEXT,
            "url": _TEXT,
            "key": _TEXT,
            "timeout": {"type": ["string", "number"]},
            "models": {"type": "object", "additionalProperties": _TEXT},
        },
    },
    "consent": {"type": "object", "required": ["consent"], "properties": {"consent": {"type": "boolean"}}},
    "names": {
        "type": "object",
        "required": ["names"],
        "properties": {"names": {"type": "array", "items": _TEXT}},
    },
}

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "code"],
            "properties": {
                "message": _TEXT,
                "type": _TEXT,
                "code": _TEXT,
                "param": {"type": ["string", "null"]},
                "hint": {"type": ["string", "null"]},
            },
        }
    },
}


class Row(Protocol):
    """What the document needs of a row of ROUTES."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def function(self) -> Callable[..., Awaitable[Any]]: ...
    @property
    def body(self) -> str | None: ...
    @property
    def query(self) -> tuple[str, ...]: ...
    @property
    def gives(self) -> str: ...
    @property
    def status(self) -> int: ...


def document(routes: Iterable[Row]) -> dict[str, Any]:
    """OpenAPI 3.1 (spec.openapis.org/oas/v3.1.0)."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = re.sub(r"\{(\w+):path\}", r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, path)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Domicile",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": {**BODIES, "error": _ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def _dialect(path: str) -> str:
    starts = {"/v1/messages": "Anthropic", "/v1/": "OpenAI", "/api/": "Ollama"}
    return next((name for start, name in starts.items() if path.startswith(start)), "Domicile")


def _operation(route: Row, path: str) -> dict[str, Any]:
    text = inspect.getdoc(route.function) or ""
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()}_{re.sub(r'[^a-z0-9]+', '_', path.lower()).strip('_') or 'root'}",
        "summary": text.split("\n")[0],
        "tags": [_dialect(path)],
        "responses": {
            str(route.status): {
                "description": "OK",
                "content": {kind.strip(): {} for kind in route.gives.split(",")},
            },
            "default": {
                "description": "An error: what happened, why, what to do next",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/error"}}},
            },
        },
    }
    names = re.findall(r"\{(\w+)\}", path)
    operation["parameters"] = [
        *({"name": n, "in": "path", "required": True, "schema": _TEXT} for n in names),
        *({"name": n.rstrip("!"), "in": "query", "required": n.endswith("!"), "schema": _TEXT} for n in route.query),
    ]
    if route.body is not None:
        schema = {"$ref": f"#/components/schemas/{route.body}"}
        kind = "multipart/form-data" if route.body in _FORMS else "application/json"
        operation["requestBody"] = {"required": True, "content": {kind: {"schema": schema}}}
    return operation
