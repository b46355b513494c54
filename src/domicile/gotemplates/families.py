"""Chat templates in the language of Ollama (Go's text/template), for those that are known.

A GGUF carries its template in Jinja; Ollama has another language, and no machine translation is safe. So a template is
recognised by the marks it must have and those it must not, as its family's own documentation writes them, and the one
written here is used. What is not recognised gets none, and that is said.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Known:
    """One family. `marks` are all in the Jinja, `never` are not. `system`: it has a turn for the system's words."""

    name: str
    marks: tuple[str, ...]
    go: str
    stop: tuple[str, ...]
    never: tuple[str, ...] = ()


def _turns(system: str, user: str, assistant: str, end: str) -> str:
    """Families whose turns are a head, a text and an end, all three roles alike."""
    return (
        f"{{{{ if .System }}}}{system}{{{{ .System }}}}{end}{{{{ end }}}}"
        f"{{{{ if .Prompt }}}}{user}{{{{ .Prompt }}}}{end}{{{{ end }}}}"
        f"{assistant}{{{{ .Response }}}}{end}"
    )


def _alike(head: str, end: str, roles: tuple[str, str, str] = ("system", "user", "assistant")) -> str:
    """Families whose heads differ by the role's name alone."""
    system, user, assistant = (head.replace("{role}", role) for role in roles)
    return _turns(system, user, assistant, end)


_INST_SYSTEM = "{{ if .System }}{{ .System }}\n\n{{ end }}"

TEMPLATES: tuple[Known, ...] = (
    Known(
        "llama3",
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        _alike("<|start_header_id|>{role}<|end_header_id|>\n\n", "<|eot_id|>"),
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        ("<|im_start|>",),
    ),
    Known(
        "llama4",
        ("<|header_start|>", "<|header_end|>", "<|eot|>"),
        _alike("<|header_start|>{role}<|header_end|>\n\n", "<|eot|>"),
        ("<|header_start|>", "<|header_end|>", "<|eot|>"),
    ),
    Known(
        "gemma",
        ("<start_of_turn>", "<end_of_turn>"),
        "<start_of_turn>user\n{{ if .System }}{{ .System }}\n\n{{ end }}{{ .Prompt }}<end_of_turn>\n"
        "<start_of_turn>model\n{{ .Response }}<end_of_turn>\n",
        ("<start_of_turn>", "<end_of_turn>"),
    ),
    Known(
        "granite",
        ("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"),
        _alike("<|start_of_role|>{role}<|end_of_role|>", "<|end_of_text|>\n"),
        ("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"),
    ),
    Known(
        "phi3",
        ("<|user|>", "<|assistant|>", "<|end|>"),
        _turns("<|system|>\n", "<|user|>\n", "<|assistant|>\n", "<|end|>\n"),
        ("<|end|>", "<|user|>", "<|assistant|>"),
        ("<|im_start|>", "<|start|>", "[INST]"),
    ),
    Known(
        "phi4",
        ("<|im_start|>", "<|im_sep|>", "<|im_end|>"),
        _alike("<|im_start|>{role}<|im_sep|>", "<|im_end|>"),
        ("<|im_start|>", "<|im_sep|>", "<|im_end|>"),
    ),
    Known(
        "chatml",
        ("<|im_start|>", "<|im_end|>"),
        _turns("<|im_start|>system\n", "<|im_start|>user\n", "<|im_start|>assistant\n", "<|im_end|>\n"),
        ("<|im_start|>", "<|im_end|>"),
        ("<|im_sep|>", "<|im_user|>", "<|im_middle|>"),
    ),
    Known(
        "zephyr",
        ("<|user|>", "<|assistant|>", "<|system|>", "eos_token"),
        _turns("<|system|>\n", "<|user|>\n", "<|assistant|>\n", "</s>\n"),
        ("<|system|>", "<|user|>", "<|assistant|>", "</s>"),
        ("<|end|>", "<|im_start|>", "[gMASK]", "<|observation|>", "<|endoftext|>"),
    ),
    Known(
        "llama2",
        ("[INST]", "[/INST]", "<<SYS>>"),
        "[INST] {{ if .System }}<<SYS>>\n{{ .System }}\n<</SYS>>\n\n{{ end }}"
        "{{ .Prompt }} [/INST] {{ .Response }} </s>",
        ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"),
    ),
    Known(
        "mistral-v7",
        ("[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
        "{{ if .System }}[SYSTEM_PROMPT]{{ .System }}[/SYSTEM_PROMPT]{{ end }}"
        "{{ if .Prompt }}[INST]{{ .Prompt }}[/INST]{{ end }}{{ .Response }}</s>",
        ("[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
        ("[THINK]",),
    ),
    Known(
        "mistral",
        ("[INST]", "[/INST]"),
        f"[INST] {_INST_SYSTEM}{{{{ .Prompt }}}} [/INST] {{{{ .Response }}}}</s>",
        ("[INST]", "[/INST]"),
        ("<<SYS>>", "[SYSTEM_PROMPT]", "<|im_start|>", "<|user|>"),
    ),
    Known(
        "command-r",
        ("<|START_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
        _alike("<|START_OF_TURN_TOKEN|><|{role}_TOKEN|>", "<|END_OF_TURN_TOKEN|>", ("SYSTEM", "USER", "CHATBOT")),
        ("<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
        ("<|START_THINKING|>",),
    ),
    Known(
        "deepseek-v2",
        ("<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"),
        "{{ if .System }}{{ .System }}{{ end }}{{ if .Prompt }}<｜User｜>{{ .Prompt }}{{ end }}"
        "<｜Assistant｜>{{ .Response }}<｜end▁of▁sentence｜>",
        ("<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"),
    ),
    Known(
        "alpaca",
        ("### Instruction:", "### Response:"),
        "{{ if .System }}{{ .System }}\n\n{{ end }}{{ if .Prompt }}### Instruction:\n{{ .Prompt }}\n\n{{ end }}"
        "### Response:\n{{ .Response }}\n\n",
        ("### Instruction:", "### Response:"),
    ),
    Known(
        "vicuna",
        ("USER: ", "ASSISTANT:"),
        "{{ if .System }}{{ .System }} {{ end }}{{ if .Prompt }}USER: {{ .Prompt }} {{ end }}"
        "ASSISTANT: {{ .Response }}</s>",
        ("USER:", "ASSISTANT:"),
    ),
)
"""In the order they are tried: the more particular first."""


def recognise(jinja: str | None) -> Known | None:
    """The family whose marks a chat template has; None when it is none of ours."""
    if not jinja:
        return None
    return next(
        (k for k in TEMPLATES if all(m in jinja for m in k.marks) and not any(n in jinja for n in k.never)), None
    )
