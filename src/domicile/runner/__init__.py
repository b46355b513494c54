"""Which models are awake, and who may use the memory: see `runner.md` for the states and the one writer."""

from domicile.runner.accounting import Bytes
from domicile.runner.resident import Prepared, Presence
from domicile.runner.room import Limits, Runner

__all__ = ["Bytes", "Limits", "Prepared", "Presence", "Runner"]
