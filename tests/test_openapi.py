"""The document that describes the API says what the API is."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.routing import compile_path

from domicile.web import ROUTES
from domicile.web.openapi import BODIES, document
from domicile.web.trouble import OURS
from tests.conftest import Visiting

DOCUMENT = document(ROUTES)
METHODS = {"get", "post", "put", "delete", "head", "options", "patch", "trace"}
TYPES = {"string", "number", "integer", "boolean", "array", "object", "null"}


def _operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def _everything(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _everything(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _everything(inner)


def test_the_document_has_the_shape_of_openapi_3_1() -> None:
    assert re.fullmatch(r"3\.1\.\d+", DOCUMENT["openapi"])
    assert DOCUMENT["info"]["title"]
    assert DOCUMENT["info"]["version"]
    assert set(DOCUMENT) <= {"openapi", "info", "paths", "components", "security", "servers", "tags"}
    for path, method, operation in _operations():
        assert path.startswith("/")
        assert method in METHODS
        assert operation["responses"]
        for status, answer in operation["responses"].items():
            assert re.fullmatch(r"default|[1-5]\d\d", status)
            assert answer["description"]
            assert all(re.fullmatch(r"\w+/[\w.+-]+", kind) for kind in answer["content"])


def test_every_route_is_in_the_document_and_nothing_else_is() -> None:
    routes = {(re.sub(r":path\}", "}", r.path), r.method.lower()) for r in ROUTES}
    assert len(routes) == len(ROUTES)
    assert {(path, method) for path, method, _ in _operations()} == routes


def test_what_a_handler_says_of_its_query_is_in_the_document() -> None:
    for route in ROUTES:
        said = set(re.findall(r"[?&](\w+)=", inspect.getdoc(route.function) or ""))
        assert said <= {name.rstrip("!") for name in route.query}, route.path
        if "query_params" in inspect.getsource(route.function):
            assert route.query, route.path


def test_every_handler_says_what_it_does() -> None:
    for route in ROUTES:
        text = inspect.getdoc(route.function)
        assert text, route.path
        assert text.split("\n")[0].endswith((".", "`.")), route.path
    assert all(operation["summary"] for _, _, operation in _operations())


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [operation["operationId"] for _, _, operation in _operations()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in names)


def test_every_reference_leads_somewhere() -> None:
    references = [place["$ref"] for place in _everything(DOCUMENT) if "$ref" in place]
    assert references
    for reference in references:
        found: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
        assert isinstance(found, dict)
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert all(name in schemes for need in DOCUMENT["security"] for name in need)


def test_every_parameter_of_a_path_is_described_and_no_other() -> None:
    for path, _, operation in _operations():
        described = [p["name"] for p in operation.get("parameters", []) if p["in"] == "path"]
        assert described == re.findall(r"\{(\w+)\}", path)
        assert all(p["required"] for p in operation.get("parameters", []) if p["in"] == "path")


def test_every_schema_is_one_and_is_used() -> None:
    for schema in _everything(DOCUMENT["components"]["schemas"]):
        kind = schema.get("type")
        if isinstance(kind, (str, list)):
            assert set([kind] if isinstance(kind, str) else kind) <= TYPES
        if isinstance(required := schema.get("required"), list):
            assert set(required) <= set(schema["properties"])
    assert {r.body for r in ROUTES if r.body} == set(BODIES)


def test_only_what_changes_something_takes_a_body_and_reading_never_does() -> None:
    assert all(route.method in {"GET", "HEAD", "POST", "PATCH", "DELETE"} for route in ROUTES)
    reading = [route for route in ROUTES if route.method in {"GET", "HEAD", "DELETE"}]
    assert [route.path for route in reading if route.body is not None] == ["/api/delete"]  # Ollama names it in a body


def test_no_route_hides_another() -> None:
    """The first route that matches answers: a name that holds slashes must not swallow a verb after it."""
    for place, route in enumerate(ROUTES):
        sample = re.sub(r"\{\w+:path\}", "org/repo:Q4_K_M", re.sub(r"\{\w+\}", "abc", route.path))
        first = next(r for r in ROUTES if r.method == route.method and compile_path(r.path)[0].match(sample))
        assert first is ROUTES[place], route.path


@pytest.mark.anyio
async def test_the_house_serves_its_own_document(visiting: Visiting) -> None:
    async with visiting() as visit:
        answer = await visit.http.get("/domicile/openapi.json")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == DOCUMENT


@pytest.mark.anyio
async def test_every_route_answers_in_the_kind_the_document_announces(visiting: Visiting) -> None:
    async with visiting() as visit:
        for route in ROUTES:
            path = re.sub(r"\{(\w+)(?::path)?\}", "nobody", route.path)
            if route.path == "/domicile/library/events":  # never ends: test_adopt reads it
                continue
            few = {"count": "1"} if "count" in route.query else None  # events that go on until somebody leaves
            asked: dict[str, str] | None = {} if route.body else None
            async with visit.http.stream(route.method, path, json=asked, params=few) as answer:
                if route.gives != "text/event-stream" or answer.status_code >= 400:  # a stream of all jobs has no end
                    await answer.aread()
            # (The Hub is nowhere in this test: whoever needs it says so.)
            if answer.status_code >= 400:
                if route.method == "HEAD":
                    continue
                error = answer.json()["error"]
                if path.startswith("/api/") and not path.startswith(OURS):  # Ollama's errors are a text
                    assert answer.status_code < 500 or answer.status_code == 501, path
                    assert isinstance(error, str)
                    assert error
                    continue
                silent = {"hub_unreachable", "engine_missing", "not_supported", "ollama_silent"}
                assert answer.status_code < 500 or error["code"] in silent, path
                assert error["message"]
                assert error["type"] if path.startswith("/v1/messages") else error["code"]
            else:
                assert answer.status_code == route.status
                assert answer.headers["content-type"].split(";")[0] in route.gives
