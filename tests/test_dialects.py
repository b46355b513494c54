"""The turning of dialects, as tables: a request read, an answer said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from domicile.dialects import anthropic, ollama, responses
from domicile.dialects.delta import Delta, Reader, Said, Voice, delta_of
from domicile.dialects.modelfile import Recipe, parse, shown, write
from domicile.dialects.vectors import cut, in_base64
from domicile.errors import BadField, DomicileError, MissingField
from domicile.recipes import applied

USER = {"role": "user", "content": "Hi"}
WEATHER = {"name": "weather", "parameters": {"type": "object"}}


def _chunk(**delta: Any) -> dict[str, Any]:
    finish = delta.pop("finish", None)
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


CALL = [{"index": 0, "id": "c1", "function": {"name": "weather", "arguments": ""}}]
ARGUMENTS = [{"index": 0, "function": {"arguments": '{"city":"Paris"}'}}]
SECOND = [{"index": 1, "id": "c2", "function": {"name": "clock", "arguments": "not json"}}]
USAGE = {
    "choices": [],
    "usage": {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 5}},
}
ANSWER = [
    _chunk(role="assistant", content=None),
    _chunk(reasoning_content="Hm"),
    _chunk(content="Bon"),
    _chunk(content='jour\n"é"'),
    _chunk(tool_calls=CALL),
    _chunk(tool_calls=ARGUMENTS),
    _chunk(tool_calls=SECOND),
    _chunk(finish="tool_calls"),
    {**USAGE, "timings": {"prompt_ms": 10.0, "predicted_ms": 20.0}},
]
TEXT = [_chunk(content="Bon"), _chunk(content="jour"), _chunk(finish="length"), USAGE]


def _say(voice: Voice, chunks: list[dict[str, Any]]) -> bytes:
    return voice.begin() + b"".join(voice.say(delta_of(c)) for c in chunks) + voice.end()


def _events(said: bytes) -> list[dict[str, Any]]:
    """The data of each event; its name must be its type."""
    found = []
    for event in said.decode().split("\n\n")[:-1]:
        name, data = event.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


# -- reading an engine's stream --


def test_a_stream_reads_the_same_wherever_it_is_cut() -> None:
    stream = b"".join(b"data: " + json.dumps(c, ensure_ascii=False).encode() + b"\r\n\r\n" for c in ANSWER)
    stream += b": a comment\n\ndata: [DONE]\n\n"
    whole = Reader().feed(stream)
    assert len(whole) == len(ANSWER)
    for width in (1, 2, 7, 100):
        reader = Reader()
        pieces = [d for i in range(0, len(stream), width) for d in reader.feed(stream[i : i + width])]
        assert pieces == whole
        assert reader.done


def test_an_answer_adds_up() -> None:
    said = Said()
    for chunk in ANSWER:
        said.add(delta_of(chunk))
    assert (said.text, said.reasoning, said.finish) == ('Bonjour\n"é"', "Hm", "tool_calls")
    assert [(c.id, c.name, c.arguments) for c in said.calls.values()] == [
        ("c1", "weather", '{"city":"Paris"}'),
        ("c2", "clock", "not json"),
    ]
    assert (said.count("prompt_tokens"), said.count("completion_tokens"), said.cached) == (7, 3, 5)


def test_without_a_count_the_pieces_are_counted() -> None:
    said = Said()
    said.add(Delta("a"))
    said.add(Delta("b"))
    assert (said.count("completion_tokens"), said.count("prompt_tokens")) == (2, 0)


@pytest.mark.parametrize("line", [b"data: {\n", b"data: [1]\n", b"data: 3\n"])
def test_what_is_no_stream_of_events_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json's own, or ours
        Reader().feed(line)


def test_a_whole_answer_is_one_piece_and_an_error_is_one_too() -> None:
    whole = delta_of({"choices": [{"message": {"content": "Hi", "tool_calls": CALL}, "finish_reason": "stop"}]})
    assert (whole.text, whole.calls, whole.finish) == ("Hi", CALL, "stop")
    assert delta_of({"choices": [{"text": "on"}]}).text == "on"
    hole = delta_of({"content": "p", "stop": True, "stop_type": "limit", "tokens_predicted": 2, "tokens_evaluated": 9})
    assert (hole.text, hole.finish) == ("p", "length")
    assert hole.usage == {"prompt_tokens": 9, "completion_tokens": 2}
    assert delta_of({"error": {"message": "x"}}).error == {"message": "x"}
    assert delta_of({"error": "x"}).error == {"message": "x"}


# -- Ollama --

OLLAMA_REQUESTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"messages": [USER]}, {"messages": [USER]}),
    (
        {"messages": [USER], "options": {"num_predict": 5, "temperature": 0, "stop": "x", "seed": 1.0, "top_k": 3}},
        {"max_tokens": 5, "temperature": 0, "stop": ["x"], "seed": 1, "top_k": 3},
    ),
    ({"messages": [USER], "options": {"num_predict": -2}}, {"max_tokens": -1}),
    ({"messages": [USER], "format": "json"}, {"response_format": {"type": "json_object"}}),
    (
        {"messages": [USER], "format": {"type": "object"}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
            }
        },
    ),
    ({"messages": [USER], "think": False}, {"chat_template_kwargs": {"enable_thinking": False}}),
    (
        {"messages": [USER], "think": "high"},
        {"chat_template_kwargs": {"enable_thinking": True, "reasoning_effort": "high"}},
    ),
    ({"messages": [USER], "logprobs": True, "top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
    (
        {"messages": [USER], "tools": [{"type": "function", "function": WEATHER}]},
        {"tools": [{"type": "function", "function": WEATHER}]},
    ),
    (
        {"messages": [{"role": "user", "content": "What?", "images": ["/9j/AAAA"]}]},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What?"},
                        {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,/9j/AAAA"}},
                    ],
                }
            ]
        },
    ),
]


@pytest.mark.parametrize(("said", "asked"), OLLAMA_REQUESTS, ids=str)
def test_ollamas_request_in_the_engines_tongue(said: dict[str, Any], asked: dict[str, Any]) -> None:
    chat, _ = ollama.chat_of(said)
    body = chat.data("m")
    assert {name: body[name] for name in asked} == asked
    assert body["stream"] is True


def test_a_tools_answer_belongs_to_the_call_it_names_or_to_the_oldest() -> None:
    calls = [{"function": {"name": n, "arguments": {"a": 1}}} for n in ("one", "two")]
    said = [
        USER,
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "tool_name": "two", "content": "2"},
        {"role": "tool", "content": "1"},
    ]
    told = ollama.chat_of({"messages": said})[0].messages
    assert told[1]["tool_calls"][0]["function"] == {"name": "one", "arguments": '{"a": 1}'}
    ids = [c["id"] for c in told[1]["tool_calls"]]
    assert [m["tool_call_id"] for m in told[2:]] == ids[::-1]


def test_options_of_the_house_are_named_and_the_context_is_kept_apart() -> None:
    _, asked = ollama.chat_of({"messages": [USER], "options": {"num_ctx": 2048, "num_gpu": 1, "numa": None}})
    assert (asked.context, asked.ignored) == (2048, ["num_gpu"])


def test_generate_is_a_conversation_of_one_question_after_its_context() -> None:
    past = [{"role": "system", "content": "old"}, USER, {"role": "assistant", "content": "Yo é"}]
    chat, _ = ollama.generate_of({"prompt": "And?", "system": "new", "context": ollama.remember(past)})
    assert chat.messages == [
        {"role": "system", "content": "new"},
        *past[1:],
        {"role": "user", "content": "And?"},
    ]
    raw, _ = ollama.raw_of({"prompt": "La", "raw": True, "options": {"num_predict": 2}, "logprobs": True})
    assert (raw["prompt"], raw["max_tokens"], raw["logprobs"]) == ("La", 2, 1)
    hole, _ = ollama.infill_of({"prompt": "a", "suffix": "b", "options": {"num_predict": 2}})
    assert (hole["input_prefix"], hole["input_suffix"], hole["n_predict"]) == ("a", "b", 2)


@pytest.mark.parametrize(
    "said",
    [
        {"messages": "x"},
        {"messages": ["x"]},
        {"messages": [{"content": "x"}]},
        {"messages": [{"role": "user", "content": 3}]},
        {"messages": [{"role": "user", "content": "", "images": [1]}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]},
        {"messages": [USER], "options": {"temperature": "hot"}},
        {"messages": [USER], "options": 3},
        {"messages": [USER], "format": "xml"},
        {"messages": [USER], "think": "sometimes"},
    ],
    ids=str,
)
def test_what_ollama_would_not_understand_is_refused_by_name(said: dict[str, Any]) -> None:
    with pytest.raises(BadField) as raised:
        ollama.chat_of(said)
    assert raised.value.facts["field"]


@pytest.mark.parametrize("context", [[1, 2], "x", [999], ollama.remember([{"no": "role"}])], ids=str)
def test_a_context_that_is_not_ours_is_refused(context: object) -> None:
    with pytest.raises(BadField):
        ollama.generate_of({"prompt": "a", "context": context})


def _ollama(**more: Any) -> ollama.OllamaVoice:
    times = iter([0.0, 1.0, 3.0, 3.0])
    return ollama.OllamaVoice("m", clock=lambda: next(times), date=lambda: "now", **more)


def test_ollamas_lines() -> None:
    lines = [json.loads(line) for line in _say(_ollama(streams=True), ANSWER).splitlines()]
    assert [line["message"].get("content") for line in lines] == ["", "Bon", 'jour\n"é"', "", ""]
    assert lines[0]["message"]["thinking"] == "Hm"
    assert [c["function"]["arguments"] for c in lines[3]["message"]["tool_calls"]] == [
        {"city": "Paris"},
        {"arguments": "not json"},
    ]
    assert [line["done"] for line in lines] == [False] * 4 + [True]
    assert lines[-1] | {"message": 0} == {
        "model": "m",
        "created_at": "now",
        "message": 0,
        "done": True,
        "done_reason": "stop",
        "total_duration": 3_000_000_000,
        "load_duration": 990_000_000,
        "prompt_eval_count": 7,
        "prompt_eval_duration": 10_000_000,
        "eval_count": 3,
        "eval_duration": 20_000_000,
        "served_by": "home",
    }


def test_ollamas_answer_in_one_piece() -> None:
    voice = _ollama(streams=False)
    _say(voice, ANSWER)
    whole = _ollama(streams=False)
    for chunk in TEXT:
        assert whole.say(delta_of(chunk)) == b""
    told = whole.whole()
    assert told["message"] == {"role": "assistant", "content": "Bonjour"}
    assert (told["done"], told["done_reason"], told["eval_count"]) == (True, "length", 3)


def test_a_generated_answer_gives_the_context_to_go_on_from() -> None:
    voice = _ollama(streams=True, generate=True, history=[USER])
    lines = [json.loads(line) for line in _say(voice, TEXT).splitlines()]
    assert [line["response"] for line in lines] == ["Bon", "jour", ""]
    assert ollama.recall(lines[-1]["context"]) == [USER, {"role": "assistant", "content": "Bonjour"}]


def test_ollamas_error_says_not_found_as_its_clients_expect() -> None:
    assert ollama.error_of({"message": "No x.", "code": "model_not_found", "name": "x"}) == {
        "error": "model 'x' not found: No x."
    }
    assert json.loads(_ollama(streams=True).failed({"message": "died"})) == {"error": "died"}


# -- Anthropic --


def test_anthropics_request_in_the_engines_tongue() -> None:
    said = {
        "max_tokens": 9,
        "system": [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief"}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": ""},
                    {"type": "text", "text": "I look"},
                    {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Paris"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "11"}]},
                    {"type": "tool_result", "tool_use_id": "t2", "content": "no", "is_error": True},
                    {"type": "text", "text": "So?"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}},
                ],
            },
        ],
        "tools": [{"name": "weather", "description": "w", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
        "stop_sequences": ["END"],
        "top_k": 5,
        "metadata": {"user_id": "u"},
    }
    chat, stops = anthropic.chat_of(said)
    assert stops == ["END"]
    assert chat.unread == {"metadata": {"user_id": "u"}}
    body = chat.data("m")
    assert body["messages"] == [
        {"role": "system", "content": "Be\nbrief"},
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "I look",
            "reasoning_content": "hm",
            "tool_calls": [
                {"id": "t1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "11"},
        {"role": "tool", "tool_call_id": "t2", "content": "Error: no"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "So?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
            ],
        },
    ]
    assert body["tools"][0]["function"]["parameters"] == {"type": "object"}
    assert body["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert (body["parallel_tool_calls"], body["max_tokens"], body["top_k"]) == (False, 9, 5)
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert "stop" not in body


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"messages": [USER]}, MissingField),
        ({"max_tokens": 5}, MissingField),
        ({"max_tokens": 0, "messages": [USER]}, BadField),
        ({"max_tokens": 5, "messages": [{"role": "tool", "content": "x"}]}, BadField),
        ({"max_tokens": 5, "messages": [{"role": "user", "content": [{"type": "video"}]}]}, BadField),
        ({"max_tokens": 5, "messages": [USER], "tools": [{"type": "web_search_20250305", "name": "s"}]}, BadField),
        ({"max_tokens": 5, "messages": [USER], "stop_sequences": [""]}, BadField),
        (
            {
                "max_tokens": 5,
                "messages": [
                    {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "http://x"}}]}
                ],
            },
            BadField,
        ),
    ],
    ids=str,
)
def test_what_anthropics_dialect_would_refuse_is_refused(said: dict[str, Any], kind: type[DomicileError]) -> None:
    with pytest.raises(kind):
        anthropic.chat_of(said)


def test_anthropics_events_come_in_the_one_order() -> None:
    events = _events(_say(anthropic.AnthropicVoice("m", "msg_1", [], streams=True), ANSWER))
    block = ["content_block_start", "content_block_delta", "content_block_stop"]
    assert [e["type"] for e in events] == [
        *("message_start", "ping"),
        *block,
        *("content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"),
        *block,
        *block,
        *("message_delta", "message_stop"),
    ]
    assert [e["index"] for e in events if e["type"] == "content_block_start"] == [0, 1, 2, 3]
    assert [e["content_block"]["type"] for e in events if "content_block" in e] == [
        *("thinking", "text"),
        *("tool_use", "tool_use"),
    ]
    assert "".join(e["delta"].get("partial_json", "") for e in events if e.get("index") == 2 and "delta" in e) == (
        '{"city":"Paris"}'
    )
    assert events[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert events[-2]["usage"] == {
        "input_tokens": 2,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 5,
        "output_tokens": 3,
    }


def test_anthropics_message_in_one_piece() -> None:
    voice = anthropic.AnthropicVoice("m", "msg_1", [], streams=False)
    for chunk in ANSWER:
        voice.say(delta_of(chunk))
    told = voice.whole()
    assert told["content"] == [
        {"type": "thinking", "thinking": "Hm", "signature": ""},
        {"type": "text", "text": 'Bonjour\n"é"'},
        {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Paris"}},
        {"type": "tool_use", "id": "c2", "name": "clock", "input": {"arguments": "not json"}},
    ]
    assert told["stop_reason"] == "tool_use"


@pytest.mark.parametrize(
    ("pieces", "text", "found"),
    [
        (["one EN", "D two"], "one ", "END"),
        (["one E", "N", "D"], "one ", "END"),
        (["one EN", "E two"], "one ENE two", None),
        (["one EN"], "one EN", None),
        (["EENND END"], "EENND ", "END"),
        (["a\n\nHuman: b"], "a", "\n\nHuman:"),
        (["aEND\n\nHuman:"], "a", "END"),
    ],
    ids=str,
)
def test_a_stop_sequence_is_found_however_it_is_cut(pieces: list[str], text: str, found: str | None) -> None:
    voice = anthropic.AnthropicVoice("m", "msg_1", ["END", "\n\nHuman:"], streams=True)
    said = voice.begin()
    for piece in pieces:
        said += voice.say(Delta(piece))
        if voice.finished:
            break
    events = _events(said + voice.end())
    assert "".join(e["delta"].get("text", "") for e in events if e["type"] == "content_block_delta") == text
    assert events[-2]["delta"]["stop_sequence"] == found
    assert events[-2]["delta"]["stop_reason"] == ("stop_sequence" if found else "end_turn")


def test_anthropics_error() -> None:
    told = anthropic.error_of(404, {"message": "none", "type": "x", "hint": "h"})
    assert told == {"type": "error", "error": {"type": "not_found_error", "message": "none", "hint": "h"}}
    assert anthropic.error_of(418, {})["error"]["type"] == "invalid_request_error"
    assert anthropic.error_of(502, {})["error"]["type"] == "api_error"


# -- Responses --


def test_responses_items_are_messages() -> None:
    items: list[Mapping[str, Any]] = [
        {"role": "developer", "content": "Be brief"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}], "summary": []},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look"}]},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "clock", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "11"},
    ]
    body = responses.chat_of({"instructions": "In French"}, items).data("m")
    assert body["messages"] == [
        {"role": "system", "content": "In French\n\nBe brief"},
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "I look",
            "reasoning_content": "hm",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
                {"id": "c2", "type": "function", "function": {"name": "clock", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "11"},
    ]


@pytest.mark.parametrize(
    "said",
    [
        {"input": [{"type": "item_reference", "id": "x"}]},
        {"input": [{"role": "robot", "content": "x"}]},
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://x/y.png"}]}]},
        {"input": "x", "tools": [{"type": "web_search"}]},
        {"input": "x", "tool_choice": "maybe"},
        {"input": "x", "text": {"format": {"type": "xml"}}},
    ],
    ids=str,
)
def test_what_a_model_here_cannot_read_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(BadField):
        responses.chat_of(said, responses.items_of(said))


def _responses(kept: list[dict[str, Any]] | None = None, *, streams: bool = True) -> responses.ResponsesVoice:
    return responses.ResponsesVoice(
        "m",
        {},
        lambda kind: f"{kind}_1",
        streams=streams,
        keep=None if kept is None else kept.append,
        clock=lambda: 5.0,
    )


def test_responses_events_come_in_the_one_order() -> None:
    kept: list[dict[str, Any]] = []
    events = _events(_say(_responses(kept), ANSWER))
    assert [e["sequence_number"] for e in events] == list(range(len(events)))
    kinds = [e["type"].removeprefix("response.") for e in events]
    assert kinds == [
        *("created", "in_progress"),
        *("output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.done"),
        *("content_part.done", "output_item.done"),
        *("output_item.added", "content_part.added", "output_text.delta", "output_text.delta", "output_text.done"),
        *("content_part.done", "output_item.done"),
        *("output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"),
        *("output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"),
        "completed",
    ]
    whole = events[-1]["response"]
    assert [item["type"] for item in whole["output"]] == ["reasoning", "message", "function_call", "function_call"]
    assert whole["output"][2]["arguments"] == '{"city":"Paris"}'
    assert whole["usage"]["total_tokens"] == 10
    assert kept == [whole]


def test_a_response_cut_short_is_incomplete() -> None:
    events = _events(_say(_responses(), TEXT))
    assert events[-1]["type"] == "response.incomplete"
    assert events[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    voice = _responses(streams=False)
    for chunk in TEXT:
        voice.say(delta_of(chunk))
    assert voice.whole()["output"][0]["content"][0]["text"] == "Bonjour"
    failed = _events(_responses().failed({"message": "died"}))
    assert failed[0]["response"]["error"] == {"code": "server_error", "message": "died"}


# -- Modelfiles --

MODELFILE = '''# a pirate
FROM graine:latest
parameter temperature 0.5
PARAMETER stop "<|im_end|>"
PARAMETER stop AYE
PARAMETER num_ctx 2048
SYSTEM """You are a pirate.
You say "Arr"."""
TEMPLATE """{{ .Prompt }}"""
MESSAGE user Hello
MESSAGE assistant """Arr"""
LICENSE "MIT"
'''


def test_a_modelfile_is_read_and_written() -> None:
    recipe = parse(MODELFILE)
    assert recipe == Recipe(
        "graine:latest",
        {"temperature": 0.5, "stop": ["<|im_end|>", "AYE"], "num_ctx": 2048},
        "{{ .Prompt }}",
        'You are a pirate.\nYou say "Arr".',
        ({"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Arr"}),
        (),
        "MIT",
    )
    assert parse(write(recipe, recipe.base)) == recipe
    assert Recipe.of_json(recipe.to_json()) == recipe
    assert shown(recipe.parameters).splitlines()[0].split() == ["num_ctx", "2048"]


@pytest.mark.parametrize(
    "text",
    ["", "SYSTEM x", "FROM a\nBAKE b", "FROM a\nMESSAGE robot hi", 'FROM a\nSYSTEM """open', "FROM a\nnonsense"],
    ids=repr,
)
def test_a_modelfile_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(BadField):
        parse(text)


def test_a_recipe_adds_to_a_question_and_the_question_wins() -> None:
    recipe = Recipe("b", {"temperature": 0.5, "num_predict": 9}, system="Arr", messages=(USER,))
    plain = applied(recipe, {"messages": [{"role": "user", "content": "a"}], "temperature": 0})
    assert plain == {
        "messages": [{"role": "system", "content": "Arr"}, USER, {"role": "user", "content": "a"}],
        "temperature": 0,
        "max_tokens": 9,
    }
    own = applied(recipe, {"messages": [{"role": "system", "content": "mine"}, USER], "max_completion_tokens": 3})
    assert own["messages"] == [{"role": "system", "content": "mine"}, USER, USER]
    assert "max_tokens" not in own
    assert applied(recipe, {"prompt": "a"}) == {"prompt": "a", "temperature": 0.5, "max_tokens": 9}


# -- vectors --


def test_fewer_dimensions_are_of_length_one_again() -> None:
    assert cut([3.0, 4.0, 12.0], 2) == [0.6, 0.8]
    assert cut([3.0, 4.0], None) == [3.0, 4.0]
    assert in_base64([1.0, -2.0]) == "AACAPwAAAMA="
