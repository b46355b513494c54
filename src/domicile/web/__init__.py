"""ROUTES: everything the house answers over HTTP, as one list, and the application made from it.

The same list makes the OpenAPI document (`GET /domicile/openapi.json`) and the reference in `docs/`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match, Router
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from domicile.web import roles
from domicile.web.counted import Counted
from domicile.web.guard import Guard, Rules
from domicile.web.limits import Limits
from domicile.web.page_rooms import ROOMS
from domicile.web.queries import CHATS, HUGGINGFACE, SEARCH
from domicile.web.rooms import Later, Room
from domicile.web.trouble import Troubles
from domicile.web.wishes import Wishes

if TYPE_CHECKING:
    from domicile.app import House
    from domicile.web import (
        accounts,
        anthropic,
        api,
        away,
        chats,
        chats_answering,
        chats_moved,
        choices,
        custom,
        discover,
        engines,
        generate,
        huggingface,
        images,
        jobs,
        kept,
        library,
        metrics,
        neighbour,
        ollama,
        ollama_models,
        openai,
        origins,
        pages,
        progress,
        ranking,
        responses,
        search,
        settings,
        speech,
        tab,
        tuning,
    )
else:  # imported by the first request to each
    anthropic, api, away, chats = Room("anthropic"), Room("api"), Room("away"), Room("chats")
    chats_answering, chats_moved, choices, custom = (
        Room("chats_answering"),
        Room("chats_moved"),
        Room("choices"),
        Room("custom"),
    )
    discover, engines, generate, huggingface = Room("discover"), Room("engines"), Room("generate"), Room("huggingface")
    images = Room("images")
    jobs, kept, library, metrics = Room("jobs"), Room("kept"), Room("library"), Room("metrics")
    neighbour, ollama, ollama_models, openai = Room("neighbour"), Room("ollama"), Room("ollama_models"), Room("openai")
    origins, pages, progress, ranking = Room("origins"), Room("pages"), Room("progress"), Room("ranking")
    responses, search, speech, tab = Room("responses"), Room("search"), Room("speech"), Room("tab")
    accounts, settings, tuning = Room("accounts"), Room("settings"), Room("tuning")


@dataclass(frozen=True, slots=True)
class Route:
    """One row. The handler's docstring is its description; `body` names a schema of `openapi.BODIES`."""

    method: str
    path: str
    handler: Callable[[Request], Awaitable[Any]]
    body: str | None = None
    gives: str = "application/json"
    status: int = 200
    query: tuple[str, ...] = ()
    """Names of what may follow a `?`; one that must be there ends with `!`."""

    @property
    def function(self) -> Callable[[Request], Awaitable[Any]]:
        """The handler itself, imported now if it was not yet: for whoever reads its docstring."""
        return self.handler.it if isinstance(self.handler, Later) else self.handler


async def openapi(request: Request) -> Response:
    """This API, as an OpenAPI 3.1 document."""
    from domicile.web.openapi import document

    return JSONResponse(document(ROUTES))


_HEARD = "application/json, text/plain, text/vtt, text/event-stream"

ROUTES: tuple[Route, ...] = (
    Route("GET", "/", pages.front_door, gives="text/html, text/plain", query=("lang", "theme")),
    *(Route("GET", r.path, pages.room, gives="text/html", query=("lang", "theme")) for r in ROOMS[1:]),
    Route("GET", "/static/{path:path}", pages.static, gives="application/octet-stream"),
    Route("GET", "/sw.js", tab.worker, gives="text/javascript"),
    Route("GET", "/domicile/tab", tab.models),
    Route("GET", "/domicile/files/{name:path}/resolve/main/{file:path}", tab.file, gives="application/octet-stream"),
    Route("GET", "/domicile/files/{name:path}/main/{file:path}", tab.file, gives="application/octet-stream"),
    Route("POST", "/v1/chat/completions", openai.chat_completions, "chat", "application/json, text/event-stream"),
    Route("POST", "/v1/completions", openai.completions, "completion", "application/json, text/event-stream"),
    Route("POST", "/v1/embeddings", openai.embeddings, "embeddings"),
    Route("POST", "/v1/rerank", ranking.rerank, "rerank"),
    Route("POST", "/v2/rerank", ranking.rerank, "rerank"),
    Route("POST", "/v1/reranking", ranking.rerank, "rerank"),
    Route("POST", "/rerank", ranking.rerank, "rerank"),
    Route("POST", "/v1/responses", responses.create, "responses", "application/json, text/event-stream"),
    Route("POST", "/v1/responses/input_tokens", responses.input_tokens, "responses"),
    Route("GET", "/v1/responses/{id}", responses.get),
    Route("DELETE", "/v1/responses/{id}", responses.delete),
    Route("GET", "/v1/responses/{id}/input_items", responses.input_items, query=("order",)),
    Route("POST", "/v1/audio/transcriptions", speech.transcriptions, "transcription", _HEARD),
    Route("POST", "/v1/audio/translations", speech.translations, "translation", _HEARD),
    Route("POST", "/v1/audio/speech", speech.spoken),
    Route("POST", "/v1/images/generations", images.generations, "images", "application/json, text/event-stream"),
    Route("POST", "/v1/images/edits", images.edits, gives="application/json, text/event-stream"),
    Route("POST", "/v1/images/variations", images.variations),
    Route("POST", "/v1/messages", anthropic.messages, "messages", "application/json, text/event-stream"),
    Route("POST", "/v1/messages/count_tokens", anthropic.count_tokens, "messages"),
    Route("GET", "/v1/models", openai.models, query=("limit", "after_id", "before_id")),
    Route("GET", "/v1/models/{name:path}", openai.model),
    Route("GET", "/api/version", ollama_models.version),
    Route("GET", "/api/tags", ollama_models.tags),
    Route("GET", "/api/ps", ollama_models.ps),
    Route("POST", "/api/show", ollama_models.show, "named"),
    Route("POST", "/api/chat", ollama.chat, "ollama_chat", "application/json, application/x-ndjson"),
    Route("POST", "/api/generate", ollama.generate, "ollama_generate", "application/json, application/x-ndjson"),
    Route("POST", "/api/embed", ollama.embed, "ollama_embed"),
    Route("POST", "/api/embeddings", ollama.embeddings, "ollama_embeddings"),
    Route("POST", "/api/pull", ollama_models.pull, "ollama_pull", "application/json, application/x-ndjson"),
    Route("POST", "/api/push", ollama_models.push, "named"),
    Route("POST", "/api/create", ollama_models.create, "ollama_create", "application/json, application/x-ndjson"),
    Route("POST", "/api/copy", ollama_models.copy, "ollama_copy"),
    Route("DELETE", "/api/delete", ollama_models.delete, "named"),
    Route("HEAD", "/api/blobs/{digest}", ollama_models.has_blob),
    Route("POST", "/api/blobs/{digest}", ollama_models.send_blob, status=201),
    Route("POST", "/generate", generate.generate, "generate"),
    Route("GET", "/domicile/account", accounts.me),
    Route("POST", "/domicile/account/first", accounts.first, "account_first", status=201),
    Route("POST", "/domicile/account/sign-in", accounts.sign_in, "sign_in"),
    Route("POST", "/domicile/account/sign-out", accounts.sign_out),
    Route("POST", "/domicile/account/sign-out-everywhere", accounts.sign_out_everywhere),
    Route("POST", "/domicile/account/password", accounts.password, "password"),
    Route("GET", "/domicile/account/sessions", accounts.sessions),
    Route("GET", "/domicile/account/keys", accounts.keys),
    Route("POST", "/domicile/account/keys", accounts.make_key, "key_new", status=201),
    Route("DELETE", "/domicile/account/keys/{id}", accounts.revoke_key),
    Route("GET", "/domicile/accounts", accounts.accounts),
    Route("POST", "/domicile/accounts", accounts.add, "account_new", status=201),
    Route("PATCH", "/domicile/accounts/{name}", accounts.change, "account_change"),
    Route("DELETE", "/domicile/accounts/{name}", accounts.remove),
    Route("GET", "/domicile/settings", settings.settings),
    Route("PATCH", "/domicile/settings", settings.change, "house_settings"),
    Route("GET", "/domicile/health", api.health),
    Route("GET", "/domicile/version", api.version),
    Route("GET", "/domicile/openapi.json", openapi),
    Route("GET", "/domicile/choices", choices.choices),
    Route("GET", "/domicile/capabilities", choices.capable, query=("name",)),
    Route("GET", "/domicile/events", choices.events, gives="text/event-stream"),
    Route("GET", "/domicile/models", api.models),
    Route("POST", "/domicile/models", api.add_model, "path", status=201),
    Route("POST", "/domicile/models/{name:path}/wake", api.wake, "wake"),
    Route("POST", "/domicile/models/{name:path}/sleep", api.sleep, query=("force",)),
    Route("POST", "/domicile/models/{name:path}/activate", api.activate),
    Route("POST", "/domicile/models/{name:path}/update", origins.update, status=202),
    Route("GET", "/domicile/models/{name:path}/settings", tuning.settings),
    Route("PATCH", "/domicile/models/{name:path}/settings", tuning.change_settings, "settings"),
    Route("POST", "/domicile/models/{name:path}/selftest", tuning.selftest),
    Route("GET", "/domicile/models/{name:path}/log", api.log, gives="text/plain", query=("lines", "follow")),
    Route("GET", "/domicile/models/{name:path}/template", kept.template, query=("base",)),
    Route("GET", "/domicile/models/{name:path}/modelfile", library.modelfile),
    Route("POST", "/domicile/models/{name:path}/export", library.export, "export", status=202),
    Route("POST", "/domicile/models/{name:path}/aliases", library.alias, "alias", status=201),
    Route("DELETE", "/domicile/models/{name:path}/aliases/{alias}", library.unalias),
    Route("POST", "/domicile/models/{name:path}/pin", library.pin),
    Route("DELETE", "/domicile/models/{name:path}/pin", library.unpin),
    Route("GET", "/domicile/models/{name:path}", api.model),
    Route("DELETE", "/domicile/models/{name:path}", api.remove_model, query=("force", "also_files")),
    Route("GET", "/domicile/adoptable", library.adoptable, query=("path",)),
    Route("POST", "/domicile/adopt", library.adopt, "adopt", status=202),
    Route("GET", "/domicile/library/events", library.library_events, gives="text/event-stream"),
    Route("GET", "/domicile/ollama", neighbour.ollama, query=("quiet",)),
    Route("GET", "/domicile/ollama/models", neighbour.ollama_models),
    Route("GET", "/domicile/ollama/models/{name:path}", neighbour.ollama_model),
    Route("DELETE", "/domicile/ollama/models/{name:path}", neighbour.ollama_delete),
    Route("POST", "/domicile/ollama/pull", neighbour.ollama_pull, "pull", status=202),
    Route("GET", "/domicile/resolve", api.resolve, query=("name!",)),
    Route("GET", "/domicile/engines", engines.engines),
    Route("GET", "/domicile/engines/llama", engines.llama),
    Route("POST", "/domicile/engines/llama/build", engines.build, status=202),
    Route("POST", "/domicile/engines/llama/try", engines.compare, status=202),
    Route("POST", "/domicile/engines/{name}", engines.add, status=202),
    Route("DELETE", "/domicile/engines/{name}", engines.remove),
    Route("GET", "/domicile/engines/{name}/doctor", engines.doctor),
    Route("GET", "/domicile/machine", discover.machine, query=("calibrate",)),
    Route("GET", "/domicile/machine/load", discover.machine_load),
    Route(
        "GET", "/domicile/machine/events", metrics.machine_events, gives="text/event-stream", query=("every", "count")
    ),
    Route("GET", "/domicile/fit", discover.fit, query=("model!", "context", "kv", "slots", "on", "quick")),
    Route("GET", "/domicile/fit/cards", discover.cards, query=("model!", "context", "kv", "slots", "on")),
    Route("GET", "/domicile/cards", discover.table_of_cards),
    Route(
        "GET",
        "/domicile/repository",
        discover.repository,
        query=("model!", "context", "kv", "slots", "on", "fresh"),
    ),
    Route("GET", "/domicile/repository/card", search.card, query=("model!", "quiet")),
    Route("GET", "/domicile/search", search.search, query=SEARCH),
    Route("GET", "/domicile/recommended", search.recommended, query=("need", "organisation")),
    Route("GET", "/domicile/browser-models", search.browser_models),
    Route("GET", "/domicile/updates", origins.updates, query=("model",)),
    Route("GET", "/domicile/places", origins.places),
    Route("POST", "/domicile/places", origins.add_place, "place", status=201),
    Route("DELETE", "/domicile/places/{place:path}", origins.remove_place),
    Route("GET", "/domicile/custom", custom.customs),
    Route("POST", "/domicile/custom", custom.add, "custom", status=201),
    Route("POST", "/domicile/custom/check", custom.check, "custom"),
    Route("POST", "/domicile/custom/import", custom.take_in, "customs"),
    Route("POST", "/domicile/custom/link", custom.read_link, "link"),
    Route("GET", "/domicile/custom/export", custom.export, query=("shape",)),
    Route("GET", "/domicile/custom/{id:path}/share", custom.share),
    Route("POST", "/domicile/custom/{id:path}/check", custom.check_again),
    Route("DELETE", "/domicile/custom/{id:path}", custom.remove),
    Route(
        "GET",
        "/api/huggingface/search",
        huggingface.search,
        gives="application/json, text/html",
        query=HUGGINGFACE,
    ),
    Route("GET", "/api/huggingface/model/{model_id:path}", huggingface.model, gives="application/json, text/html"),
    Route("GET", "/api/huggingface/quantizations", huggingface.quantizations, gives="application/json, text/html"),
    Route("GET", "/api/huggingface/parameter_sizes", huggingface.parameter_sizes, gives="application/json, text/html"),
    Route("POST", "/api/huggingface/pull", huggingface.pull, "hf_pull", "application/json, text/html", 202),
    Route("GET", "/api/stream/progress", progress.stream, gives="text/event-stream", query=("job_id", "as")),
    Route("POST", "/domicile/pull", jobs.pull, "pull", status=202),
    Route("GET", "/domicile/jobs", jobs.jobs),
    Route("GET", "/domicile/jobs/events", jobs.all_events, gives="text/event-stream"),
    Route("GET", "/domicile/jobs/{id}", jobs.job),
    Route("DELETE", "/domicile/jobs/{id}", jobs.cancel_job),
    Route("GET", "/domicile/jobs/{id}/events", jobs.job_events, gives="text/event-stream", query=("after",)),
    Route("POST", "/domicile/jobs/{id}/pause", jobs.pause_job),
    Route("POST", "/domicile/jobs/{id}/resume", jobs.resume_job),
    Route("POST", "/domicile/jobs/{id}/cancel", jobs.cancel_job),
    Route("POST", "/domicile/jobs/{id}/limit", jobs.limit_job, "limit"),
    Route("POST", "/domicile/jobs/{id}/priority", jobs.priority_job, "priority"),
    Route("POST", "/domicile/jobs/{id}/hours", jobs.hours_job, "hours"),
    Route("GET", "/domicile/partials", jobs.partials),
    Route("DELETE", "/domicile/partials/{name:path}", jobs.forget_partial),
    Route("GET", "/api/models/download/status", jobs.download_status, query=("model", "id")),
    Route("GET", "/domicile/targets", away.targets),
    Route("POST", "/domicile/targets", away.add_target, "target", status=201),
    Route("POST", "/domicile/targets/order", away.order_targets, "names"),
    Route("POST", "/domicile/targets/{name}/consent", away.consent, "consent"),
    Route("POST", "/domicile/targets/{name}/test", away.test_target),
    Route("GET", "/domicile/targets/{name}", away.target),
    Route("DELETE", "/domicile/targets/{name}", away.remove_target),
    Route("GET", "/domicile/egress", away.outgoing, query=("since", "limit")),
    Route("GET", "/domicile/chats", chats.chats, query=CHATS),
    Route("POST", "/domicile/chats", chats.create, "chat_new", status=201),
    Route("POST", "/domicile/chats/delete", chats.delete_many, "chats_delete"),
    Route("GET", "/domicile/chats/events", chats_answering.list_events, gives="text/event-stream"),
    Route("GET", "/domicile/chats/export", chats_moved.export, query=("files",)),
    Route("POST", "/domicile/chats/import", chats_moved.take_in, "chats_import"),
    Route("GET", "/domicile/chats/folders", chats.folders),
    Route("POST", "/domicile/chats/folders", chats.add_folder, "chat_folder", status=201),
    Route("PATCH", "/domicile/chats/folders/{id}", chats.rename_folder, "chat_folder"),
    Route("DELETE", "/domicile/chats/folders/{id}", chats.delete_folder),
    Route("GET", "/domicile/chats/presets", chats.presets),
    Route("POST", "/domicile/chats/presets", chats.add_preset, "chat_preset", status=201),
    Route("PATCH", "/domicile/chats/presets/{id}", chats.change_preset, "chat_preset"),
    Route("DELETE", "/domicile/chats/presets/{id}", chats.delete_preset),
    Route("POST", "/domicile/chats/attachments", chats_moved.attach, query=("name", "temporary"), status=201),
    Route("GET", "/domicile/chats/attachments/{id}", chats_moved.attachment),
    Route("PATCH", "/domicile/chats/attachments/{id}", chats_moved.write_down, "chat_text"),
    Route("DELETE", "/domicile/chats/attachments/{id}", chats_moved.detach),
    Route("GET", "/domicile/chats/attachments/{id}/content", chats_moved.content, gives="application/octet-stream"),
    Route("GET", "/domicile/chats/{id}", chats.chat),
    Route("PATCH", "/domicile/chats/{id}", chats.change, "chat_change"),
    Route("DELETE", "/domicile/chats/{id}", chats.delete),
    Route("GET", "/domicile/chats/{id}/events", chats_answering.events, gives="text/event-stream"),
    Route("POST", "/domicile/chats/{id}/answer", chats_answering.answer, "chat_answer", status=202),
    Route("POST", "/domicile/chats/{id}/stop", chats_answering.stop, "chat_message"),
    Route("POST", "/domicile/chats/{id}/fork", chats.fork, "chat_message", status=201),
    Route("POST", "/domicile/chats/{id}/messages", chats.say, "chat_messages", status=201),
    Route("PATCH", "/domicile/chats/{id}/messages/{message}", chats.edit_message, "chat_text"),
    Route("DELETE", "/domicile/chats/{id}/messages/{message}", chats.delete_message),
    Route(
        "GET",
        "/domicile/chats/{id}/export",
        chats_moved.export_chat,
        gives="application/json, text/markdown",
        query=("format", "files"),
    ),
    Route("GET", "/domicile/images", images.gallery, query=("before", "limit")),
    Route("POST", "/domicile/images", images.draw, "images", status=202),
    Route("GET", "/domicile/images/options", images.options),
    Route("GET", "/domicile/images/drawings", images.drawings),
    Route("GET", "/domicile/images/drawings/{id}", images.drawing),
    Route("GET", "/domicile/images/drawings/{id}/events", images.drawing_events, gives="text/event-stream"),
    Route("POST", "/domicile/images/drawings/{id}/stop", images.stop_drawing),
    Route("GET", "/domicile/images/{id}", images.picture),
    Route("DELETE", "/domicile/images/{id}", images.delete_picture),
    Route("GET", "/domicile/images/{id}/content", images.content, gives="image/png"),
    Route("GET", "/domicile/ps", api.ps),
    Route("GET", "/domicile/cache", kept.cache),
    Route("DELETE", "/domicile/cache", kept.clear_cache, query=("model",)),
    Route("GET", "/domicile/doctor", api.doctor),
    Route("GET", "/metrics", metrics.metrics, gives="text/plain"),
)


for _name in [name for name, it in vars().items() if isinstance(it, Room)]:
    del globals()[_name]  # from here on `from domicile.web import openai` is the module, as anywhere


class _Row(BaseRoute):
    """A row as Starlette matches it. A path that does not begin like the row's costs no regular expression, and a row
    that nobody asked for has none made."""

    def __init__(self, row: Route) -> None:
        self._row = row
        self._begins = row.path.partition("{")[0]
        self.need = roles.need_of(row)

    @cached_property
    def _route(self) -> StarletteRoute:
        async def handle(request: Request) -> Any:
            return await self._row.handler(request)

        return StarletteRoute(self._row.path, handle, methods=[self._row.method])

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return self._route.matches(scope) if scope["path"].startswith(self._begins) else (Match.NONE, {})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._route.handle(scope, receive, send)


def build(house: House, rules: Rules) -> ASGIApp:
    """The application: counts, then guard, then errors, then limits, then routes."""
    rows = [_Row(row) for row in ROUTES]
    app: ASGIApp = Router(rows)
    app = Limits(app, house.settings.body_limit)
    app = Troubles(Wishes(app), house)
    return Counted(Guard(app, rules, _needs(rows), lambda: house.accounts))


def _needs(rows: Sequence[_Row]) -> Callable[[Scope], roles.Need]:
    """The role that a request must have: that of the row the router will find for it."""

    def need(scope: Scope) -> roles.Need:
        found = next((row for row in rows if row.matches(scope)[0] is Match.FULL), None)
        return "user" if found is None else found.need

    return need
