"""Domicile: AI models that live at home."""

__version__ = "0.1.0"
