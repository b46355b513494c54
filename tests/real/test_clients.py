"""Every route of three dialects, called by the clients their makers publish, against a real house.

One house for all of them, with *graine*, an encoder of random weights, and a model that calls tools.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import ollama
import openai
import pytest

from domicile.library import EMBEDDED_FILE
from tests import nursery
from tests.fakes.hub import FakeHub, running
from tests.fakes.models import THINKING_TEMPLATE, able, adapter, caller, encoder

pytestmark = pytest.mark.slow

QUESTION: Any = [{"role": "user", "content": "Bonjour"}]
CITY = {"type": "object", "properties": {"city": {"type": "string", "enum": ["Paris"]}}, "required": ["city"]}
WEATHER: Any = {"type": "function", "function": {"name": "weather", "description": "Weather", "parameters": CITY}}
COLD = {"temperature": 0}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@dataclass
class Place:
    """The house, and one client of each maker."""

    url: str
    openai: openai.OpenAI
    ollama: ollama.Client
    anthropic: anthropic.Anthropic


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("clients")
    hub = FakeHub()
    hub.add("org/small-GGUF", {"small-Q8_0.gguf": EMBEDDED_FILE.read_bytes()})
    files = [encoder(folder / "encoder.gguf"), caller(folder / "caller.gguf")]
    files.append(able(folder / "thinker.gguf", THINKING_TEMPLATE))
    with running(hub):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DOMICILE_", "HF_"))}
        env = {**kept, "DOMICILE_HOME": str(folder / "home"), "HF_ENDPOINT": hub.url, "DOMICILE_LANG": "en"}
        with nursery.serving(env=env) as (_, said):
            url = said["url"]
            for file in files:
                httpx2.post(f"{url}/domicile/models", json={"path": str(file)}).raise_for_status()
            with (
                openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0, timeout=60) as of_openai,
                anthropic.Anthropic(base_url=url, api_key="any", max_retries=0, timeout=60) as of_anthropic,
                ollama.Client(url, timeout=60) as of_ollama,
            ):
                yield Place(url, of_openai, of_ollama, of_anthropic)


# -- openai --


def test_openai_several_answers_and_the_tokens_of_all(place: Place) -> None:
    asked: Any = {"model": "graine", "messages": QUESTION, "n": 3, "max_tokens": 4, "seed": 1, "temperature": 1.5}
    whole = place.openai.chat.completions.create(**asked)
    assert [c.index for c in whole.choices] == [0, 1, 2]
    assert whole.usage is not None
    assert whole.usage.completion_tokens <= 12
    texts = ["", "", ""]
    usage = None
    for chunk in place.openai.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == [c.message.content for c in whole.choices]
    assert usage is not None
    assert usage.completion_tokens == whole.usage.completion_tokens


def test_openai_tools_called_whole_and_streamed(place: Place) -> None:
    asked: Any = {"model": "caller", "messages": QUESTION, "tools": [WEATHER], "temperature": 0, "max_tokens": 200}
    message = place.openai.chat.completions.create(**asked, tool_choice="required").choices[0].message
    assert message.tool_calls is not None
    first: Any = message.tool_calls[0]
    assert (first.function.name, json.loads(first.function.arguments)) == ("weather", {"city": "Paris"})
    with place.openai.chat.completions.stream(**asked) as stream:
        said = stream.get_final_completion().choices[0]
    assert said.finish_reason == "tool_calls"
    assert said.message.tool_calls is not None
    assert json.loads(said.message.tool_calls[0].function.arguments) == {"city": "Paris"}


def test_openai_vectors_in_both_encodings_and_fewer_dimensions(place: Place) -> None:
    client = place.openai
    both = client.embeddings.create(model="encoder", input=["bonjour", "b"])  # the client asks for base64
    assert [len(d.embedding) for d in both.data] == [64, 64]
    plain = client.embeddings.create(model="encoder", input="bonjour", encoding_format="float")
    assert plain.data[0].embedding == pytest.approx(both.data[0].embedding, abs=1e-6)
    assert plain.usage.prompt_tokens > 3
    few = client.embeddings.create(model="encoder", input="bonjour", dimensions=8).data[0].embedding
    assert sum(x * x for x in few) == pytest.approx(1)
    with pytest.raises(openai.BadRequestError, match="128"):
        client.embeddings.create(model="encoder", input="bonjour " * 60)
    with pytest.raises(openai.InternalServerError) as refused:
        client.embeddings.create(model="graine", input="x")
    assert refused.value.status_code == 501
    with pytest.raises(openai.BadRequestError, match="does not support chat"):
        client.chat.completions.create(model="encoder", messages=QUESTION)


def test_openai_responses_go_on_from_each_other(place: Place) -> None:
    client = place.openai
    first = client.responses.create(model="graine", input="Bonjour", temperature=0, max_output_tokens=200)
    assert first.status == "completed"
    assert first.output_text
    assert first.usage is not None
    again = client.responses.create(
        model="graine", input="Et la mémoire ?", previous_response_id=first.id, temperature=0, max_output_tokens=4
    )
    assert again.status == "incomplete"
    assert again.usage is not None
    assert again.usage.input_tokens > first.usage.input_tokens + first.usage.output_tokens
    assert client.responses.retrieve(first.id).output_text == first.output_text
    items = client.responses.input_items.list(again.id, order="asc").data
    assert [getattr(i, "role", "") for i in items] == ["user", "assistant", "user"]
    counted = client.responses.input_tokens.count(
        model="graine", input="Et la mémoire ?", previous_response_id=first.id
    )
    assert counted.input_tokens == again.usage.input_tokens
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    unkept = client.responses.create(model="graine", input="a", store=False, max_output_tokens=2)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(unkept.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="graine", input="a", previous_response_id="resp_none")


def test_openai_responses_stream_with_text_tools_and_schema(place: Place) -> None:
    client = place.openai
    with client.responses.stream(model="graine", input="Bonjour", temperature=0) as stream:
        text = "".join(e.delta for e in stream if e.type == "response.output_text.delta")
        assert stream.get_final_response().output_text == text
    tool: Any = {"type": "function", "name": "weather", "parameters": CITY, "strict": False}
    with client.responses.stream(model="caller", input="Paris?", tools=[tool], temperature=0) as stream:
        kinds = [e.type for e in stream]
        called: Any = stream.get_final_response().output[0]
    assert "response.function_call_arguments.done" in kinds
    assert (called.name, json.loads(called.arguments)) == ("weather", {"city": "Paris"})
    answered: Any = [
        {"role": "user", "content": "Paris?"},
        called.model_dump(exclude_none=True, exclude={"parsed_arguments"}),
        {"type": "function_call_output", "call_id": called.call_id, "output": "11 degrees"},
    ]
    assert client.responses.create(model="caller", input=answered, max_output_tokens=5).output_text
    schema: Any = {"type": "json_schema", "name": "bits", "schema": CITY}
    shaped = client.responses.create(model="graine", input="Q4?", text={"format": schema}, max_output_tokens=60)
    assert json.loads(shaped.output_text) == {"city": "Paris"}
    thought = client.responses.create(model="thinker", input="Bonjour", max_output_tokens=8)
    assert thought.output[0].type == "reasoning"


def test_openai_sound_and_images_say_what_is_missing(place: Place) -> None:
    with pytest.raises(openai.NotFoundError, match="domicile engine add images"):
        place.openai.images.generate(prompt="a cat")
    with pytest.raises(openai.NotFoundError, match="domicile engine add whisper"):
        place.openai.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"RIFF"))
    for path, status in (("audio/speech", 501), ("images/variations", 501)):
        told = httpx2.post(f"{place.url}/v1/{path}", files={"file": ("a.wav", b"RIFF")}, data={"model": "x"})
        assert told.status_code == status, told.text


def test_openai_lists_models_and_completes(place: Place) -> None:
    assert {"graine", "encoder", "caller"} <= {m.id for m in place.openai.models.list()}
    assert place.openai.models.retrieve("encoder").id == "encoder"
    assert place.openai.completions.create(model="graine", prompt="La", max_tokens=3).choices[0].text


# -- ollama --


def test_ollama_chats_streams_and_counts(place: Place) -> None:
    client = place.ollama
    whole = client.chat("graine", QUESTION, options={"temperature": 0, "num_predict": 200})
    assert whole.message.content
    assert whole.done_reason == "stop"
    assert whole.eval_count
    assert whole.total_duration
    lines = list(client.chat("graine:latest", QUESTION, stream=True, options={"temperature": 0, "num_predict": 200}))
    assert "".join(line.message.content or "" for line in lines) == whole.message.content
    assert [line.done for line in lines[-2:]] == [False, True]
    probable = client.chat("graine", QUESTION, logprobs=True, top_logprobs=2, options={"num_predict": 2})
    assert probable.logprobs is not None
    assert len(probable.logprobs) == 2


def test_ollama_tools_thinking_format_and_what_a_model_cannot(place: Place) -> None:
    client = place.ollama
    called = client.chat("caller", QUESTION, tools=[WEATHER], options={"temperature": 0})
    assert called.message.tool_calls is not None
    assert called.message.tool_calls[0].function.arguments == {"city": "Paris"}
    streamed = list(client.chat("caller", QUESTION, tools=[WEATHER], options={"temperature": 0}, stream=True))
    assert [c.function.name for line in streamed for c in line.message.tool_calls or ()] == ["weather"]
    thought = client.chat("thinker", QUESTION, think=True, options={"num_predict": 8})
    assert thought.message.thinking
    direct = client.chat("thinker", QUESTION, think=False, options={"num_predict": 8})
    assert not direct.message.thinking
    assert direct.message.content
    shaped = client.chat("graine", QUESTION, format=CITY, options={"num_predict": 60})
    assert json.loads(shaped.message.content or "") == {"city": "Paris"}
    for asked in ({"tools": [WEATHER]}, {"think": True}):
        with pytest.raises(ollama.ResponseError, match="does not support") as refused:
            client.chat("graine", QUESTION, **asked)
        assert refused.value.status_code == 400
    with pytest.raises(ollama.ResponseError, match="images"):
        client.chat("graine", [{"role": "user", "content": "What?", "images": [PIXEL]}])
    with pytest.raises(ollama.ResponseError, match="not found") as missing:
        client.chat("nobody", QUESTION)
    assert missing.value.status_code == 404


def test_ollama_generates_goes_on_wakes_and_sleeps(place: Place) -> None:
    client = place.ollama
    first = client.generate("graine", "Bonjour", system="Tu es graine.", options={"temperature": 0, "num_predict": 9})
    assert first.response
    assert first.context
    again = client.generate("graine", "Et toi ?", context=first.context, options={"num_predict": 4})
    assert (again.prompt_eval_count or 0) > (first.prompt_eval_count or 0)
    assert client.generate("graine", "La quantification", raw=True, options={"num_predict": 4}).response
    assert (
        json.loads(client.generate("graine", "Q4?", format="json", options={"num_predict": 400}).response or "{}")
        is not None
    )
    between = client.generate("caller", "def f():", suffix="return 1", options={"temperature": 0, "num_predict": 4})
    assert (between.response, between.done_reason) == ("p", "stop")
    assert (between.prompt_eval_count or 0) > 10
    with pytest.raises(ollama.ResponseError, match="insert"):
        client.generate("graine", "def f(", suffix="return 1")
    assert client.generate("graine", keep_alive="5m").done_reason == "load"
    assert "graine:latest" in [m.model for m in client.ps().models]
    assert client.generate("graine", keep_alive=0).done_reason == "unload"
    assert "graine:latest" not in [m.model for m in client.ps().models]
    assert client.chat("graine", [], keep_alive=-1).done_reason == "load"
    kept = next(m for m in client.ps().models if m.model == "graine:latest")
    assert kept.expires_at is not None
    assert kept.expires_at.year > 2100
    assert client.chat("graine", [], keep_alive="0s").done_reason == "unload"


def test_ollama_vectors(place: Place) -> None:
    client = place.ollama
    both = client.embed("encoder", ["bonjour", "b"])
    assert [len(v) for v in both.embeddings] == [64, 64]
    assert both.prompt_eval_count
    assert len(client.embed("encoder", "bonjour", dimensions=8).embeddings[0]) == 8
    assert len(client.embed("encoder", "bonjour " * 60).embeddings) == 1
    with pytest.raises(ollama.ResponseError, match="128"):
        client.embed("encoder", "bonjour " * 60, truncate=False)
    assert client.embeddings("encoder", "bonjour").embedding == pytest.approx(both.embeddings[0], abs=1e-6)


def test_ollama_lists_shows_copies_and_deletes(place: Place) -> None:
    client = place.ollama
    listed = {m.model: m for m in client.list().models}
    assert listed["graine:latest"].details is not None
    assert listed["graine:latest"].details.quantization_level == "Q8_0"
    shown = client.show("caller")
    assert shown.capabilities == ["completion", "tools"]
    assert shown.modelinfo is not None
    assert shown.modelinfo["llama.context_length"] == 2048
    assert client.show("thinker").capabilities == ["completion", "tools", "thinking"]
    assert client.show("encoder").capabilities == ["embedding"]
    client.copy("graine", "seed")
    assert client.chat("seed", QUESTION, options={"num_predict": 2}).message.content
    client.delete("seed")
    with pytest.raises(ollama.ResponseError, match="not found"):
        client.delete("seed")
    assert "graine:latest" in [m.model for m in client.list().models]
    assert httpx2.head(place.url).status_code == 200
    assert httpx2.get(f"{place.url}/api/version").json()["version"].count(".") == 2


def test_ollama_pulls_with_progress_and_says_why_not(place: Place) -> None:
    client = place.ollama
    lines = list(client.pull("org/small-GGUF:Q8_0", stream=True))
    assert lines[0].status == "pulling manifest"
    layer = [line for line in lines if line.digest][-1]
    assert layer.completed == layer.total == EMBEDDED_FILE.stat().st_size
    assert lines[-1].status == "success"
    assert client.pull("org/small-GGUF:Q8_0").status == "success"
    assert client.chat("org/small-GGUF:Q8_0", QUESTION, options={"num_predict": 2}).message.content
    with pytest.raises(ollama.ResponseError, match="org/none"):
        list(client.pull("org/none", stream=True))
    with pytest.raises(ollama.ResponseError) as refused:
        client.push("graine")
    assert refused.value.status_code == 501


def test_ollama_creates_from_a_model_from_a_file_and_from_a_modelfile(place: Place, tmp_path: Path) -> None:
    client = place.ollama
    statuses = [
        line.status
        for line in client.create(
            "marin",
            from_="graine",
            system="Tu es un marin.",
            parameters={"temperature": 0, "num_predict": 3, "stop": ["xyz"]},
            license="MIT",
            messages=[{"role": "user", "content": "Salut"}, {"role": "assistant", "content": "Ohé"}],
            stream=True,
        )
    ]
    assert statuses[-1] == "success"
    shown = client.show("marin")
    assert shown.license == "MIT"
    assert "num_predict" in (shown.parameters or "")
    assert 'SYSTEM """Tu es un marin."""' in (shown.modelfile or "")
    told = client.chat("marin", QUESTION)
    assert told.eval_count == 3
    plain = client.chat("graine", QUESTION, options={"num_predict": 3})
    assert (told.prompt_eval_count or 0) > (plain.prompt_eval_count or 0)
    assert "marin:latest" not in [m.model for m in client.ps().models]  # it is graine that answers
    same: Any = place.openai.chat.completions.create(model="marin", messages=QUESTION)
    assert same.usage.completion_tokens == 3

    file = tmp_path / "own.gguf"
    file.write_bytes(EMBEDDED_FILE.read_bytes())
    digest = client.create_blob(file)
    assert digest == f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    assert httpx2.head(f"{place.url}/api/blobs/{digest}").status_code == 200
    assert client.create("own", files={"own.gguf": digest}).status == "success"
    assert client.chat("own", QUESTION, options={"num_predict": 2}).message.content
    text = "FROM own\nPARAMETER num_ctx 1024\nSYSTEM Arr"
    made = httpx2.post(f"{place.url}/api/create", json={"model": "third:v1", "modelfile": text, "stream": False})
    assert made.json() == {"status": "success"}
    assert client.chat("third:v1", QUESTION, options={"num_predict": 2}).message.content
    small = next(m for m in client.ps().models if m.model == "third:v1")
    assert small.context_length == 1024
    client.delete("own")
    assert client.chat("third:v1", QUESTION, options={"num_predict": 2}).message.content
    client.delete("third:v1")
    assert httpx2.head(f"{place.url}/api/blobs/{digest}").status_code == 404
    with pytest.raises(ollama.ResponseError, match="stays as it is"):
        client.create("graine", from_="graine", system="x")
    with pytest.raises(ollama.ResponseError):
        client.create("x", from_="graine", quantize="q4_0")
    wrong = httpx2.post(f"{place.url}/api/blobs/sha256:{'0' * 64}", content=b"abc")
    assert wrong.status_code == 400
    assert "sha256" in wrong.json()["error"]
    for digest in ("sha256:..%2f..%2fx", "sha256:zz", "md5:0"):
        assert httpx2.post(f"{place.url}/api/blobs/{digest}", content=b"abc").status_code in {400, 404}


def test_ollama_lays_an_adapter_over_a_model(place: Place, tmp_path: Path) -> None:
    client = place.ollama
    plain = client.chat("graine", QUESTION, options={"temperature": 0, "num_predict": 20}).message.content
    digest = client.create_blob(adapter(tmp_path / "adapter.gguf"))
    assert client.create("bent", from_="graine", adapters={"a.gguf": digest}).status == "success"
    bent = client.chat("bent", QUESTION, options={"temperature": 0, "num_predict": 20}).message.content
    assert bent
    assert bent != plain
    assert "bent:latest" in [m.model for m in client.ps().models]
    client.delete("bent")


# -- anthropic --


def test_anthropic_answers_streams_and_counts(place: Place) -> None:
    client = place.anthropic
    whole = client.messages.create(
        model="graine", max_tokens=200, messages=QUESTION, system="Sois bref.", extra_body=COLD
    )
    said: Any = whole.content[0]
    assert whole.stop_reason == "end_turn"
    assert whole.usage.output_tokens > 3
    with client.messages.stream(
        model="graine", max_tokens=200, messages=QUESTION, system="Sois bref.", extra_body=COLD
    ) as stream:
        assert "".join(stream.text_stream) == said.text
        final = stream.get_final_message()
    total = final.usage.input_tokens + (final.usage.cache_read_input_tokens or 0)
    counted = client.messages.count_tokens(model="graine", messages=QUESTION, system="Sois bref.")
    assert counted.input_tokens == total
    cut = client.messages.create(model="graine", max_tokens=2, messages=QUESTION)
    assert cut.stop_reason == "max_tokens"


def test_anthropic_stops_where_it_is_told_and_says_where(place: Place) -> None:
    asked: Any = {"model": "graine", "max_tokens": 200, "messages": QUESTION, "extra_body": COLD}
    text = place.anthropic.messages.create(**asked).content[0].text
    word = text.split()[3]
    cut = place.anthropic.messages.create(**asked, stop_sequences=[word])
    assert (cut.stop_reason, cut.stop_sequence) == ("stop_sequence", word)
    assert cut.content[0].text == text.split(word)[0]


def test_anthropic_tools_and_their_results(place: Place) -> None:
    client = place.anthropic
    tool: Any = {"name": "weather", "description": "Weather", "input_schema": CITY}
    asked: Any = {"model": "caller", "max_tokens": 200, "tools": [tool], "extra_body": COLD}
    with client.messages.stream(**asked, messages=QUESTION, tool_choice={"type": "any"}) as stream:
        final = stream.get_final_message()
    called: Any = final.content[-1]
    assert (final.stop_reason, called.name, called.input) == ("tool_use", "weather", {"city": "Paris"})
    result: Any = {"type": "tool_result", "tool_use_id": called.id, "content": "11 degrees"}
    after = client.messages.create(
        **{**asked, "max_tokens": 5},
        messages=[
            *QUESTION,
            {"role": "assistant", "content": [called.model_dump(exclude_none=True)]},
            {"role": "user", "content": [result]},
        ],
        tool_choice={"type": "none"},
    )
    assert after.usage.output_tokens > 0
    assert client.messages.count_tokens(model="caller", messages=QUESTION, tools=[tool]).input_tokens > 50


def test_anthropic_thinks_when_it_is_told_to(place: Place) -> None:
    client = place.anthropic
    thought = client.messages.create(
        model="thinker", max_tokens=8, messages=QUESTION, thinking={"type": "enabled", "budget_tokens": 1024}
    )
    assert thought.content[0].type == "thinking"
    direct = client.messages.create(model="thinker", max_tokens=8, messages=QUESTION)
    assert direct.content[0].type == "text"


def test_anthropic_models_and_errors_have_their_shapes(place: Place) -> None:
    client = place.anthropic
    assert "graine" in [m.id for m in client.models.list()]
    assert client.models.retrieve("graine").display_name == "graine"
    with pytest.raises(anthropic.NotFoundError) as missing:
        client.messages.create(model="nobody", max_tokens=5, messages=QUESTION)
    body: Any = missing.value.body
    assert (body["type"], body["error"]["type"]) == ("error", "not_found_error")
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(model="graine", max_tokens=0, messages=QUESTION)
    picture: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    with pytest.raises(anthropic.BadRequestError, match="images"):
        client.messages.create(model="graine", max_tokens=5, messages=[{"role": "user", "content": [picture]}])


# -- the first local servers --


def test_generate_answers_as_the_first_local_servers_did(place: Place) -> None:
    asked = {"prompt": "Bonjour", "system_prompt": "Sois bref.", "max_length": 12, "temperature": 0.0, "top_p": 0.9}
    told = httpx2.post(f"{place.url}/generate", json=asked).json()
    assert told.get("generated_text"), told
    assert httpx2.post(f"{place.url}/generate", json={}).status_code == 400
