"""What the page takes from npm is what the lock says; a changed, missing or foreign file is noticed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tools import vendor


@pytest.mark.parametrize("place", vendor.PLACES)
def test_every_file_is_the_one_that_was_locked(place: str) -> None:
    assert vendor.faults(place) == []


@pytest.mark.parametrize("place", vendor.PLACES)
def test_every_package_names_its_licence(place: str) -> None:
    lock = json.loads((vendor.PLACES[place] / vendor.LOCK).read_text("utf-8"))
    texts = (vendor.PLACES[place] / vendor.LICENCES).read_text("utf-8")
    for package in lock["packages"]:
        assert package["licence"]
        assert package["integrity"].startswith("sha512-")
        assert f"{package['name']} {package['version']} (" in texts


def test_a_changed_a_missing_and_a_foreign_file_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "vendor"
    shutil.copytree(vendor.PLACES["page"], root)
    monkeypatch.setitem(vendor.PLACES, "page", root)
    (root / "htm-3.1.1" / "htm.js").write_text("alert(1)", "utf-8")
    (root / "htm-3.1.1" / "more.js").write_text("", "utf-8")
    next(root.glob("marked-*/marked.js")).unlink()
    found = "\n".join(vendor.faults("page"))
    assert "htm.js: not what the lock says" in found
    assert "more.js: not in the lock" in found
    assert "marked.js: missing" in found
