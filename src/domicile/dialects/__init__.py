"""The tongues of other people's clients, turned into OpenAI's and back: Ollama's, Anthropic's, OpenAI's Responses.

Each module reads a request into a `Chat` and has a `Voice` that says an answer, `Delta` by `Delta`. All of it is
pure: no socket, no file, no model; clocks and identifiers are given.
"""
