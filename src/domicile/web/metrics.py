"""What can be watched: `/metrics` for Prometheus, and the machine's state as events."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence

import psutil
from starlette.requests import Request
from starlette.responses import Response

from domicile import __version__
from domicile.app import House
from domicile.metrics import Counter, sample
from domicile.types import Job, Load
from domicile.web import sse
from domicile.web.discover import whole
from domicile.web.trouble import house_of

_MOST = 1 << 24


async def metrics(request: Request) -> Response:
    """Everything the house counts, in Prometheus's text format."""
    from domicile import hardware

    house = house_of(request)
    totals = await house.tally.read(house.runner.children())
    written: dict[tuple[str, ...], float | None] = {
        (n, kind): float(v) for n, c in totals.items() for kind, v in c.kinds()
    }
    lines = [*_own(house, await house.jobs.list()), *_models(house), *_machine(hardware.load())]
    lines += sample("domicile_tokens_total", "Tokens read and written.", "counter", ("model", "kind"), written)
    for kept in house.metrics.all():
        lines += kept.lines()
    http: Counter | None = request.scope.get("domicile.http")
    lines += http.lines() if http else ()
    return Response("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4; charset=utf-8")


def _own(house: House, jobs: Sequence[Job]) -> Iterable[str]:
    process = psutil.Process()
    yield from sample("domicile_info", "Which Domicile this is.", "gauge", ("version",), {(__version__,): 1})
    values = {
        ("domicile_resident_bytes", "Memory of the house itself."): float(process.memory_info().rss),
        ("domicile_open_files", "File descriptors of the house."): float(process.num_fds())
        if hasattr(process, "num_fds")
        else None,
        ("domicile_queue_length", "Requests that wait for a waking or their turn."): float(house.runner.waiting),
        ("domicile_jobs_running", "Downloads and other work under way."): float(sum(not job.over for job in jobs)),
    }
    for (name, words), value in values.items():
        yield from sample(name, words, "gauge", (), {(): value})


def _models(house: House) -> Iterable[str]:
    present = house.runner.ps()
    awake = sum(p.state == "awake" for p in present)
    yield from sample("domicile_models_awake", "Models that are awake.", "gauge", (), {(): float(awake)})
    for name, words, of in (
        ("domicile_model_held_bytes", "Memory kept for a model.", "held_bytes"),
        ("domicile_model_used_bytes", "Resident memory of a model's child.", "used_bytes"),
        ("domicile_model_busy", "Requests a model is answering.", "busy"),
        ("domicile_model_waiting", "Requests that wait for a model.", "waiting"),
        ("domicile_model_tokens_per_second", "How fast its last answers were written.", "tokens_per_second"),
    ):
        yield from sample(name, words, "gauge", ("model",), {(p.name,): getattr(p, of) for p in present})


def _machine(load: Load) -> Iterable[str]:
    yield from sample("domicile_cpu_percent", "Of all cores.", "gauge", (), {(): load.cpu_percent})
    yield from sample("domicile_cpu_celsius", "The processor.", "gauge", (), {(): load.cpu_temperature_celsius})
    yield from sample("domicile_ram_bytes", "Memory, or the container's limit.", "gauge", (), {(): load.ram_bytes})
    yield from sample("domicile_ram_used_bytes", "Memory in use.", "gauge", (), {(): load.ram_used_bytes})
    for name, words, of in (
        ("domicile_gpu_percent", "Graphics processor at work.", "busy_percent"),
        ("domicile_gpu_vram_bytes", "Memory of a graphics card.", "vram_bytes"),
        ("domicile_gpu_vram_used_bytes", "Memory of a graphics card in use.", "vram_used_bytes"),
        ("domicile_gpu_celsius", "Its temperature.", "temperature_celsius"),
        ("domicile_gpu_watts", "Its power.", "power_watts"),
    ):
        values: dict[tuple[str, ...], float | None] = {
            (str(number), gpu.name): getattr(gpu, of) for number, gpu in enumerate(load.gpus)
        }
        yield from sample(name, words, "gauge", ("gpu", "name"), values)


async def machine_events(request: Request) -> Response:
    """What the machine is doing, once a second (SSE).

    Processor, memory, graphics, temperatures, power, tokens a second by model. `?every=5` sends every fifth reading;
    `?count=10` ends after ten.
    """
    house = house_of(request)
    every = whole(request.query_params, "every", 1, _MOST)
    count = whole(request.query_params, "count", _MOST, _MOST)

    async def events() -> AsyncIterator[bytes]:
        left = count
        async with contextlib.aclosing(house.live.follow(every)) as views:
            async for view in views:
                yield sse.event(view.number, "machine", view.public())
                left -= 1
                if not left:
                    return

    return sse.answer(events(), house.closing)
