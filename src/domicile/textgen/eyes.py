"""What shows pictures to a model: its processor, loaded for pictures alone.

Many processors (Qwen2-VL, SmolVLM) know films too, and ask for torchvision and num2words as soon as they are made; for
pictures they need neither, and the extra has neither. Where torchvision is missing, a stand-in takes the place of what
would cut a film into pictures: nobody sends films here, the house refuses them.
"""

from __future__ import annotations

import importlib.util
import traceback
from pathlib import Path
from typing import Any


class NoFilms(dict[str, Any]):
    """In the place of a processor of films."""

    merge_size = temporal_patch_size = num_frames = fps = 1
    model_input_names: tuple[str, ...] = ()


def processor_of(transformers: Any, folder: Path, safe: dict[str, Any]) -> Any:
    """The processor a folder describes; None where it describes none, or one that this engine cannot make."""
    if importlib.util.find_spec("torchvision") is None:
        _without_films()
    try:
        made = transformers.AutoProcessor.from_pretrained(folder, **safe)
    except (ValueError, OSError, ImportError, TypeError, AttributeError, KeyError):  # described for words alone
        traceback.print_exc()  # in the log of the model
        return None
    return made if getattr(made, "image_processor", None) is not None else None


def _without_films() -> None:
    from transformers.models.auto.video_processing_auto import AutoVideoProcessor
    from transformers.models.smolvlm import processing_smolvlm
    from transformers.processing_utils import ProcessorMixin

    if processing_smolvlm.num2words is None:
        processing_smolvlm.num2words = str  # it counts the frames of a film in words
    checked = ProcessorMixin.check_argument_for_proper_class

    def check(self: Any, name: str, argument: Any) -> Any:
        return NoFilms if isinstance(argument, NoFilms) else checked(self, name, argument)

    AutoVideoProcessor.from_pretrained = classmethod(lambda cls, *_, **__: NoFilms())
    ProcessorMixin.check_argument_for_proper_class = check
