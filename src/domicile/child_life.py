"""The life of a Python child: born (`bond`), loaded, then serving until the house lets go of it.

Every child program of an extra's environment is `main() -> live(load)`.

Runs with the extra's Python: standard library only, and of ours only what stands beside it at the bottom.
"""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from domicile.bond import Bond
from domicile.child_http import Handler, out_of_memory, serve

Load = Callable[[dict[str, Any]], dict[str, Handler]]
"""Given what is asked (`model`, `folder`, `threads`, `plan` ...), the routes: `POST /v1/...` and who answers."""


class UnfitError(Exception):
    """Raised by a child program: this model is refused, and why, in a line."""


def live(load: Load) -> None:
    """The whole life. Never returns."""
    bond = Bond()
    asked = bond.asked
    try:
        routes = load(asked)
    except ImportError as trouble:
        traceback.print_exc()
        bond.answer(failed="missing", problem=str(trouble))
    except UnfitError as trouble:
        bond.answer(failed="load", problem=str(trouble))
    except BaseException as trouble:  # noqa: BLE001 - a library may raise anything; the log has its trace
        traceback.print_exc()
        bond.answer(
            failed="memory" if out_of_memory(trouble) else "load", problem=f"{type(trouble).__name__}: {trouble}"[:300]
        )
    else:
        asyncio.run(serve(asked["address"], asked["key"], routes, lambda at: bond.answer(ready=at, sealed=bond.sealed)))
    sys.stderr.flush()
    os._exit(5)
