"""The doorplate: a file in the home that says where the open house is, for the commands of the same person.

Readable by its owner only: it carries the key of this opening. A plate whose process is gone is no house.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from domicile.config import Settings
from domicile.errors import HomeNotWritable


@dataclass(frozen=True, slots=True)
class Plate:
    url: str
    pid: int
    key: str


def read(settings: Settings) -> Plate | None:
    """The plate of the house that is open on this home; None when none is, or when it is this very process."""
    try:
        data = json.loads(settings.doorplate.read_text("utf-8"))
        plate = Plate(str(data["url"]), int(data["pid"]), str(data["key"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    import psutil

    try:
        process = psutil.Process(plate.pid)
        # A pid comes again after a restart of the machine: the moment it started does not.
        if abs(process.create_time() - float(data["started"])) > 2 or process.status() == psutil.STATUS_ZOMBIE:
            return None
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return None
    return plate if plate.pid != os.getpid() else None


def write(settings: Settings, url: str, key: str) -> None:
    """Put the plate up. Raises `HomeNotWritable`."""
    import psutil

    data = {"url": url, "pid": os.getpid(), "key": key, "started": psutil.Process().create_time()}
    try:
        handle = os.open(settings.doorplate, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(data, file)
    except OSError as trouble:
        raise HomeNotWritable(path=str(settings.home), problem=trouble.strerror) from trouble


def remove(settings: Settings) -> None:
    settings.doorplate.unlink(missing_ok=True)
