"""The rooms of the page, as one list: which there are, where, and what each needs. Light: every command imports it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Room:
    """`name` is its module (`static/js/rooms/<name>.js`), its icon, and its words (`page.<name>.`)."""

    name: str
    path: str
    styles: tuple[str, ...] = ()
    """Sheets of its own, below `static/css/`."""
    wide: bool = True
    """A page that scrolls, with its title; else a room that fills the window by itself."""
    needs: tuple[str, ...] = ()
    """Other prefixes of words its module says: `page.models.`."""

    @property
    def module(self) -> str:
        from domicile.web import shelves

        single = f"js/rooms/{self.name}.js"
        return single if (shelves.STATIC / single).is_file() else f"js/rooms/{self.name}/index.js"


ROOMS: tuple[Room, ...] = (
    Room("chat", "/", ("chat.css",), wide=False),
    Room("models", "/models", ("models.css",)),
    Room("pictures", "/pictures", ("pictures.css",)),
    Room("speech", "/speech", ("speech.css",)),
    Room("tab", "/tab", ("tab.css",)),
    Room("machine", "/machine", ("machine.css",), needs=("page.doctor.", "page.models.rule.", "purpose.", "state.")),
    Room("learn", "/learn", ("learn.css",)),
    Room("settings", "/settings", ("settings.css",), needs=("page.doctor.", "role.")),
)
