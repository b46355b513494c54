"""LangChain on a house: `langchain-ollama` and `langchain-openai` chat, stream, embed, and call a tool.

python tools/clients/langchain_.py http://127.0.0.1:11435 graine [EMBEDDER] [CALLER]
"""

from __future__ import annotations

import sys
from typing import Any, Literal


def main(url: str, model: str, embedder: str | None = None, caller: str | None = None) -> None:
    from langchain_core.tools import tool
    from langchain_ollama import ChatOllama, OllamaEmbeddings, OllamaLLM
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings

    @tool  # type: ignore[untyped-decorator, unused-ignore]
    def weather(city: Literal["Paris"]) -> str:
        """The weather of a city."""
        return f"11 degrees in {city}"

    chats: list[Any] = [
        ChatOllama(model=model, base_url=url, temperature=0, num_predict=40),
        ChatOpenAI(model=model, base_url=f"{url}/v1", api_key="any", temperature=0, max_tokens=40),
        ChatOpenAI(
            model=model, base_url=f"{url}/v1", api_key="any", temperature=0, max_tokens=40, use_responses_api=True
        ),
    ]
    for chat in chats:
        whole = chat.invoke("Bonjour")
        streamed = "".join(str(piece.text) for piece in chat.stream("Bonjour"))
        assert whole.text == streamed, (whole.text, streamed)
        assert whole.usage_metadata["output_tokens"] > 0
        print(type(chat).__name__, "chat and stream:", streamed[:40])
    print("OllamaLLM:", OllamaLLM(model=model, base_url=url, num_predict=20).invoke("Bonjour")[:40])
    if embedder:
        for texts in (
            OllamaEmbeddings(model=embedder, base_url=url),
            OpenAIEmbeddings(model=embedder, base_url=f"{url}/v1", api_key="any", check_embedding_ctx_length=False),
        ):
            assert len(texts.embed_documents(["bonjour", "b"])) == 2
            print(type(texts).__name__, "vectors of", len(texts.embed_query("bonjour")))
    if caller:
        for kind in (
            ChatOllama(model=caller, base_url=url, temperature=0),
            ChatOpenAI(model=caller, base_url=f"{url}/v1", api_key="any", temperature=0),
        ):
            called = kind.bind_tools([weather]).invoke("Paris?").tool_calls
            assert called[0]["name"] == "weather", called
            print(type(kind).__name__, "calls", called[0]["name"])


if __name__ == "__main__":
    main(*sys.argv[1:])
