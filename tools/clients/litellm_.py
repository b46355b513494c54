"""LiteLLM on a house, in every dialect it speaks to one: OpenAI's, Ollama's two routes, Anthropic's.

python tools/clients/litellm_.py http://127.0.0.1:11435 graine [EMBEDDER]
"""

from __future__ import annotations

import os
import sys
from typing import Any


def main(url: str, model: str, embedder: str | None = None) -> None:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or it asks GitHub for prices
    import litellm

    litellm.telemetry = False
    said: list[Any] = [{"role": "user", "content": "Bonjour"}]
    for kind, base in (("openai", f"{url}/v1"), ("ollama_chat", url), ("ollama", url), ("anthropic", url)):
        asked = {"model": f"{kind}/{model}", "api_base": base, "api_key": "any", "messages": said, "max_tokens": 40}
        whole = litellm.completion(**asked, temperature=0)
        pieces = [c.choices[0].delta.content or "" for c in litellm.completion(**asked, temperature=0, stream=True)]
        assert whole.choices[0].message.content == "".join(pieces), (kind, whole, pieces)
        assert whole.usage.completion_tokens > 0
        print(kind, "chat and stream:", "".join(pieces)[:40])
    if embedder:
        for kind, base in (("openai", f"{url}/v1"), ("ollama", url)):
            found = litellm.embedding(model=f"{kind}/{embedder}", api_base=base, api_key="any", input=["bonjour", "b"])
            print(kind, len(found.data), "vectors of", len(found.data[0]["embedding"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
