"""The words of the house: small frozen values that every room shares.

Knows what an installed model, a variant, a job and a plan are; how a person names a model is in `refs`. Knows
nothing of files, networks or engines. Unknown is `None`, never a guess; sizes are bytes, times are seconds since the
epoch (UTC).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from domicile.refs import SourceName

PICTURES = frozenset({"text-to-image", "image-to-image"})
"""Tasks of models that draw (the Hub's names)."""
LORA = "lora"
"""The task of an adapter, which goes on top of a model. Ours: the Hub has no name for it."""

Format = Literal["gguf", "safetensors", "onnx", "mlc", "diffusers", "whisper"]
Role = Literal["model", "projector", "draft", "adapter", "data"]
"""What a file is for: a model, its eyes or ears, its guesser, a change to it, or no weights (an importance matrix)."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a repository. `sha256` is the LFS object id; small files have a git blob id (`git_sha1`)."""

    path: str
    size_bytes: int
    sha256: str | None = None
    git_sha1: str | None = None


@dataclass(frozen=True, slots=True)
class Variant:
    """What a person downloads as one thing: the shards of one quantisation of one model."""

    label: str
    """Unique in its repository: the quantisation, else the file's stem."""
    quantisation: str | None
    files: tuple[RemoteFile, ...]
    format: Format = "gguf"
    role: Role = "model"
    missing: tuple[int, ...] = ()
    """Numbers of the shards the repository does not have: such a variant cannot be run."""

    @property
    def size_bytes(self) -> int:
        return sum(f.size_bytes for f in self.files)


ScanVerdict = Literal["safe", "caution", "suspicious", "unsafe", "unscanned"]


@dataclass(frozen=True, slots=True)
class Scan:
    """What the Hub's own security scan says of a repository, and what its files' formats can do."""

    done: bool
    """Have all files been looked at?"""
    issues: Mapping[str, ScanVerdict] = field(default_factory=dict)
    """What is not safe: path and verdict."""
    runs_code: tuple[str, ...] = ()
    """Files of formats that can run code when they are opened, whatever the scan says."""

    @property
    def verdict(self) -> ScanVerdict:
        """The worst of its files; `unscanned` while the Hub is not done and has found nothing."""
        worst: tuple[ScanVerdict, ...] = ("unsafe", "suspicious", "caution")
        return next((v for v in worst if v in self.issues.values()), "safe" if self.done else "unscanned")

    def of(self, path: str) -> ScanVerdict:
        """One file's verdict."""
        return self.issues.get(path) or ("safe" if self.done else "unscanned")

    def public(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict,
            "done": self.done,
            "issues": [{"path": path, "verdict": verdict} for path, verdict in self.issues.items()],
            "runs_code": list(self.runs_code),
        }


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of the Hub at one commit, or what another source has under one name. Text in it came from outside
    and is safe to show, not safe as markup."""

    id: str
    commit: str
    """The Hub's commit, the digest of Ollama's manifest, the validator of an address; empty where there is none."""
    variants: tuple[Variant, ...]
    files: tuple[RemoteFile, ...]
    gated: bool = False
    licence: str | None = None
    author: str | None = None
    """Who publishes it: the user or organisation."""
    task: str | None = None
    """The Hub's pipeline tag (`text-generation`)."""
    downloads: int | None = None
    """Of the last thirty days."""
    likes: int | None = None
    updated: float | None = None
    created: float | None = None
    private: bool = False
    library: str | None = None
    tags: tuple[str, ...] = ()
    parameters: int | None = None
    context: int | None = None
    """Tokens the model was made for."""
    architecture: str | None = None
    scan: Scan | None = None
    age_s: float = 0.0
    """How old this answer is: 0 when the Hub has just given or confirmed it."""
    source: SourceName = "hub"


@dataclass(frozen=True, slots=True)
class Copy:
    """The same content in another tool's folder: that tool owns the files, we only know where they are."""

    owner: str
    """Which tool: `ollama`, `huggingface`, `lmstudio`, `llamacpp`, `gpt4all`, or `folder`."""
    title: str
    """What the model is called there."""
    root: Path
    """The top of that tool's store."""
    path: Path
    """What an engine opens: a file, or the folder of a model made of several."""
    files: tuple[Path, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What the tool keeps beside the weights: `template`, `system`, `parameters`, `licence`."""
    missing: bool = False
    damaged: bool = False
    """Its bytes are not those its digest announces."""

    def public(self) -> dict[str, Any]:
        return {
            "owner": self.owner,
            "title": self.title,
            "missing": self.missing,
            "damaged": self.damaged,
            "settings": dict(self.settings),
        }


@dataclass(frozen=True, slots=True)
class Installed:
    """A model that lives here."""

    name: str
    path: Path
    """What the engine opens: the file, or the first shard."""
    format: str
    size_bytes: int
    source: Literal["embedded", "hub", "ollama", "civitai", "url", "file", "adopted"]
    """`adopted`: in another tool's folder, used where it lies."""
    files: tuple[Path, ...] = ()
    """Every file of it, absolute; the ones in our store are ours to delete."""
    repository: str | None = None
    revision: str | None = None
    quantisation: str | None = None
    licence: str | None = None
    added_at: float | None = None
    last_used_at: float | None = None
    missing: bool = False
    active: bool = False
    task: str | None = None
    """The Hub's name of what it does, where its files say it."""
    digests: tuple[str | None, ...] = ()
    """The sha256 of each file, where it is known; as many as files, or none."""
    aliases: tuple[str, ...] = ()
    pinned: bool = False
    """Kept: not removed nor evicted until it is unpinned."""
    copies: tuple[Copy, ...] = ()
    """The same content elsewhere: who else owns it."""
    damaged: bool = False
    """Its bytes are not those its digest announces."""
    self_test: Mapping[str, Any] | None = None
    """What the last self-test found."""

    @property
    def owners(self) -> tuple[str, ...]:
        """Every other tool that has it now, once each."""
        return tuple(dict.fromkeys(c.owner for c in self.copies if not c.missing))

    def public(self) -> dict[str, Any]:
        """As the API shows it. The path stays inside: a page has no business with it."""
        return {
            "name": self.name,
            "format": self.format,
            "size_bytes": self.size_bytes,
            "source": self.source,
            "files": [p.name for p in self.files],
            "repository": self.repository,
            "revision": self.revision,
            "quantisation": self.quantisation,
            "licence": self.licence,
            "added_at": self.added_at,
            "last_used_at": self.last_used_at,
            "missing": self.missing,
            "active": self.active,
            "task": self.task,
            "aliases": list(self.aliases),
            "pinned": self.pinned,
            "owners": list(self.owners),
            "copies": [c.public() for c in self.copies],
            "damaged": self.damaged,
            "self_test": dict(self.self_test) if self.self_test is not None else None,
        }


JobStatus = Literal["queued", "running", "paused", "done", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Job:
    """Work that outlives the request that asked for it."""

    id: str
    kind: str
    model: str
    status: JobStatus = "queued"
    step: str | None = None
    """What it is doing now: a key under `step.` in the locale."""
    size_bytes: int | None = None
    downloaded_bytes: int = 0
    speed: float | None = None
    """Bytes a second over the last few seconds."""
    started_at: float | None = None
    completed_at: float | None = None
    error: Mapping[str, object] | None = None
    """Why it failed, or why it is paused."""
    result: Mapping[str, object] = field(default_factory=dict)
    priority: int = 0
    """The higher goes first; among equals, the older."""
    limit: int | None = None
    """Bytes a second it may take; None for no limit of its own."""
    hours: str | None = None
    """`23:00-07:00`, or `always`; None for the house's own hours."""
    resume_at: float | None = None
    """When a paused job goes on by itself."""

    @property
    def over(self) -> bool:
        return self.status in {"done", "failed", "cancelled"}

    @property
    def progress(self) -> float | None:
        """From 0 to 1; None while the size is unknown."""
        return min(1.0, self.downloaded_bytes / self.size_bytes) if self.size_bytes else None

    @property
    def eta(self) -> float | None:
        """Seconds left at the present speed."""
        if not self.size_bytes or not self.speed:
            return None
        return max(0.0, (self.size_bytes - self.downloaded_bytes) / self.speed)

    def public(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "kind": self.kind,
            "model": self.model,
            "status": self.status,
            "step": self.step,
            "progress": self.progress,
            "size_bytes": self.size_bytes,
            "downloaded_bytes": self.downloaded_bytes,
            "speed": self.speed,
            "eta": self.eta,
            "started_at": self.started_at,
            "completed_at": self.completed_at,
            "error": dict(self.error) if self.error else None,
            "result": dict(self.result),
            "priority": self.priority,
            "limit": self.limit,
            "hours": self.hours,
            "resume_at": self.resume_at,
        }


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor as a header announces it. `dims` in GGUF order (fastest first); `size_bytes` on disk."""

    name: str
    dims: tuple[int, ...]
    type: str
    """The storage type's standard name: F32, F16, BF16, Q4_K, Q8_0, IQ4_XS, MXFP4 ..."""
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Layer:
    """What one block keeps per token and per sequence, and how wide it is."""

    kind: Literal["attention", "recurrent", "none"] = "attention"
    n_head: int = 0
    n_head_kv: int = 0
    head_dim_k: int = 0
    head_dim_v: int = 0
    """0 where nothing is kept for V (latent attention keeps K only)."""
    sliding_window: int | None = None
    """Tokens this layer looks back at; None for all of them."""
    state_bytes: int = 0
    """Recurrent state of one sequence (always F32), independent of the context."""
    n_ff: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """What a model's files say of themselves before anything is loaded. Unknown is None."""

    format: Format
    file_bytes: int
    """All the files that will be read (every shard)."""
    weights_bytes: int | None
    """Sum of the tensors as stored, without headers and tokenizer."""
    architecture: str | None = None
    name: str | None = None
    task: str | None = None
    """The Hub's name of the task: text-generation, feature-extraction, automatic-speech-recognition, text-to-
    image ..."""
    parameters: int | None = None
    active_parameters: int | None = None
    """Parameters touched for each token (mixture of experts); None when not a mixture."""
    quantisation: str | None = None
    """The commonest storage type of the weights, by bytes, or the file's own label."""
    context_length: int | None = None
    """Trained context, tokens."""
    n_vocab: int | None = None
    n_embd: int | None = None
    n_ff: int | None = None
    n_expert: int | None = None
    n_expert_used: int | None = None
    n_ff_expert: int | None = None
    layers: tuple[Layer, ...] = ()
    tied_embeddings: bool | None = None
    token_embedding_bytes: int | None = None
    output_bytes: int | None = None
    tokenizer: str | None = None
    """tokenizer.ggml.model and .pre, or the tokenizer class."""
    tokenizer_bytes: int | None = None
    """Bytes of the tokenizer's arrays in the header."""
    chat_template: str | None = None
    chat_templates: Mapping[str, str | None] = field(default_factory=dict)
    """Every template of a GGUF by its name (`default`, `tool_use` ...); None for one beyond a mebibyte."""
    licence: str | None = None
    tensors: tuple[Tensor, ...] = ()
    n_tensors: int | None = None
    extra: Mapping[str, int | float | str | bool] = field(default_factory=dict)
    """Scalars of the header that a formula needs and no field names (ssm.*, rope dims, expert counts ...), by their
    own key without the architecture before it: `ssm.conv_kernel`."""
    exact: bool = True
    """False when only part of the header was read (a badge): weights_bytes is then file size less the header seen."""
    bytes_read: int = 0
    """What it took to know this: bytes fetched from the Hub, or read from the file."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why, in no language yet: a key of the locale and the facts of its sentence."""

    key: str
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gpu:
    """A graphics processor. `vram_free_bytes` is a reading of now."""

    name: str
    backend: Literal["cuda", "rocm", "metal", "vulkan", "intel"]
    vram_bytes: int | None = None
    vram_free_bytes: int | None = None
    driver: str | None = None
    compute_capability: str | None = None
    bandwidth_bytes_per_s: float | None = None
    unified: bool = False
    """Shares the system's memory (Apple, integrated)."""
    engine: bool = False
    """The engine that is installed lists it: it can be used, whatever the drivers say."""
    why: Reason | None = None
    """Where this was read."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Measured once on this machine, for one build of the engine."""

    engine: str
    read_bandwidth_bytes_per_s: float | None
    eta_legacy: float | None
    """Share of the bandwidth that decoding reaches on legacy quantisations (Q8_0, Q4_0, F16)."""
    eta_k: float | None
    """The same on K and IQ quantisations."""
    threads: int
    measured_at: float
    others_busy: float | None = None
    """Share of the processors that other programs used meanwhile, 0 to 1: above about 0.2 the numbers are too low."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """What this machine is, and what is free in it now. What could not be read is None, with a line in `unknown`."""

    os: str
    cpu: str | None
    arch: str
    physical_cores: int | None
    logical_cores: int | None
    usable_cores: float | None
    """After affinity and the container's quota."""
    features: tuple[str, ...]
    """Instruction sets an engine cares about: avx2, avx512f, amx_int8, neon, dotprod, sve ..."""
    ram_bytes: int | None
    ram_available_bytes: int | None
    """The lower of what the system and the container's limit leave."""
    container_limit_bytes: int | None
    gpus: tuple[Gpu, ...]
    disk_free_bytes: int | None
    calibration: Calibration | None = None
    unknown: tuple[Reason, ...] = ()
    """One for each thing that could not be read, and why."""
    why: Mapping[str, Reason] = field(default_factory=dict)
    """Field to where it was read."""
    room_bytes: int | None = None
    """What one more model may take of the memory, where somebody counts it (the runner); None: what is available,
    less what is left to the system."""


@dataclass(frozen=True, slots=True)
class GpuLoad:
    """What a graphics processor is doing now."""

    name: str
    busy_percent: float | None = None
    vram_bytes: int | None = None
    vram_used_bytes: int | None = None
    temperature_celsius: float | None = None
    power_watts: float | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """What this machine is doing now. What could not be read is None."""

    measured_at: float
    cpu_percent: float | None
    """Of all cores together, since the reading before."""
    ram_bytes: int | None
    ram_used_bytes: int | None
    cpu_temperature_celsius: float | None = None
    gpus: tuple[GpuLoad, ...] = ()


Verdict = Literal["fits", "tight", "smaller_context", "partly_on_gpu", "smaller_quantisation", "no", "unknown"]


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens a second, as an interval; None at an end is "unknown"."""

    low: float | None
    high: float | None
    prefill: Literal["slow", "fair", "fast", "very_fast"] | None
    why: Reason


@dataclass(frozen=True, slots=True)
class FitReport:
    """Will it fit, how fast, and why. All bytes. `total_bytes` is the engine child's resident memory after its first
    prompt: one slot, weights loaded (no mmap), without the optional prompt cache, whose ceiling is `cache_bytes`."""

    weights_bytes: int | None
    kv_bytes: int | None
    state_bytes: int | None
    compute_bytes: int | None
    overhead_bytes: int | None
    projector_bytes: int
    cache_bytes: int
    total_bytes: int | None
    device_bytes: tuple[int, ...]
    """On each GPU, in the machine's order; empty on a CPU."""
    available_bytes: int | None
    verdict: Verdict
    context: int
    max_context: int | None
    gpu_layers: int
    tokens_per_second: Speed
    why: tuple[Reason, ...]
    checkpoint_bytes: int = 0
    """Part of the total: states of the conversation the engine keeps after a first prompt, for models that cannot
    go back in one (recurrent layers, sliding windows)."""


Speculation = Literal["off", "ngram", "draft"]
"""Who guesses the next tokens ahead of the model: nobody, the text so far, or a smaller model."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to start the engine so that it uses what was predicted. Sizes in bytes, contexts in tokens."""

    n_ctx: int
    """Of all slots together, as the engine counts."""
    n_parallel: int
    n_ubatch: int
    type_k: str
    type_v: str
    flash_attention: bool
    gpu_layers: int
    """Counting the output as one: the number of layers plus one is everything."""
    tensor_split: tuple[float, ...]
    """Share of the offloaded layers for each GPU of the machine; empty for one or none."""
    cache_ram_bytes: int
    checkpoints: int
    mmap: bool = False
    """Map the weights instead of reading them."""
    speculation: Speculation = "off"
    ngram: tuple[int, int] = (4, 16)
    """How many tokens must repeat before a guess, and how many are guessed."""
    draft: str | None = None
    """The file of the small model that guesses ahead."""
    projector: str | None = None
    """The file that lets the model see images (mmproj)."""
    modes: tuple[str, ...] = ()
    """What spares memory while pictures are drawn: `vae_tiling`, `vae_slicing`."""

    @property
    def label(self) -> str:
        """Everything in it that decides the memory, in a word: two launches of one label take as much."""
        kind = f"{self.type_k}-{self.type_v}" + ("-flash" if self.flash_attention else "")
        shape = f"{self.n_ctx}/{self.n_parallel}-{self.n_ubatch}-{kind}-gpu{self.gpu_layers}"
        return (
            f"{shape}-{self.speculation}"
            + ("-mmap" if self.mmap else "")
            + ("-eyes" if self.projector else "")
            + "".join(f"-{mode}" for mode in self.modes)
        )

    @property
    def context(self) -> int:
        """Tokens of one conversation."""
        return self.n_ctx // max(1, self.n_parallel)


Death = Literal["memory", "file", "fault", "killed", "slow", "stopped"]
"""Why a child ended: too little memory, a file it cannot use, a crash, a signal from outside, a deadline, us."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How a model shall be woken this time, beyond its settings."""

    context: int | None = None
    """Tokens of one conversation that a request asks for; less than what it is awake with changes nothing."""
    careful: Death | None = None
    """What its last child died of: the settings are chosen safer."""
    gentle: bool = False
    """Neither wait for memory nor send anybody to sleep: rather not wake at all."""


class Ticket:
    """A place in the queue, for whoever waits to look at."""

    def __init__(self) -> None:
        self.ahead: Callable[[], int] | None = None
        """Requests that come first; None while not waiting."""
        self.began: float | None = None
        """When the turn came, by the monotonic clock."""

    def position(self) -> int | None:
        """1 is next; None when not waiting."""
        return None if self.ahead is None else self.ahead() + 1
