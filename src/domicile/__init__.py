"""Domicile: AI models that live at home. `from domicile import Domicile` is the house, from Python."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from domicile.python import Domicile

__version__ = "0.1.0"
__all__ = ["Domicile", "__version__"]


def __getattr__(name: str) -> Any:
    """Nothing is imported until it is used: `domicile --help` starts in a twentieth of a second."""
    if name == "Domicile":
        from domicile.python import Domicile

        return Domicile
    raise AttributeError(name)
