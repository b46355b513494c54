"""The house, from Python."""

from __future__ import annotations

from pathlib import Path

import pytest

from domicile import Domicile
from domicile.client import HouseSaid
from tests.fakes.hub import FakeHub
from tests.test_cli import GRAINE

pytestmark = pytest.mark.slow


def test_search_fit_pull_and_chat(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/small-GGUF", {"small-Q8_0.gguf": GRAINE.read_bytes()})
    seen: list[str] = []
    with Domicile(home=tmp_path / "elsewhere") as home:
        assert [one["id"] for one in home.search("small")["results"]] == ["org/small-GGUF"]
        assert home.fit("org/small-GGUF", context=2048, quick=True)["verdict"] == "fits"
        assert home.pull("org/small-GGUF:Q8_0", lambda job: seen.append(job["status"]))["status"] == "done"
        assert home.chat("Bonjour", model="org/small-GGUF:Q8_0", temperature=0)
        assert "".join(home.stream("Bonjour", temperature=0)) == home.chat("Bonjour", temperature=0)
        assert {m["name"] for m in home.models()} == {"graine", "org/small-GGUF:Q8_0"}
        assert home.recommended("code")
        assert home.machine()["ram_bytes"]
    assert seen[-1] == "done"
    assert (tmp_path / "elsewhere" / "models" / "org" / "small-GGUF" / "small-Q8_0.gguf").is_file()


def test_what_goes_wrong_is_raised_in_words(hub: FakeHub, tmp_path: Path) -> None:
    with Domicile(home=tmp_path, lang="fr") as home:
        with pytest.raises(HouseSaid, match="Aucun modèle"):
            home.chat("hi", model="nothing")
        with pytest.raises(HouseSaid, match="dépôt"):
            home.pull("org/nothing")
