"""What the values of the house say of themselves."""

from __future__ import annotations

from pathlib import Path

from domicile.types import Installed, Job, RemoteFile, Variant


def test_an_installed_model_is_shown_without_where_it_lies() -> None:
    model = Installed("x", Path("/home/me/secret/x.gguf"), "gguf", 3, "file", files=(Path("/home/me/secret/x.gguf"),))
    assert "/home" not in str(model.public())
    assert model.public()["files"] == ["x.gguf"]


def test_a_job_knows_its_progress_and_what_is_left_only_when_they_can_be_known() -> None:
    job = Job("1", "pull", "x")
    assert (job.progress, job.eta, job.over) == (None, None, False)
    job = Job("1", "pull", "x", "running", size_bytes=1000, downloaded_bytes=250, speed=250.0)
    assert (job.progress, job.eta) == (0.25, 3.0)
    assert Job("1", "pull", "x", "done", size_bytes=10, downloaded_bytes=11).progress == 1.0
    assert all(Job("1", "pull", "x", status).over for status in ("done", "failed", "cancelled"))


def test_a_variant_is_as_large_as_its_files_together() -> None:
    assert Variant("Q4_K_M", "Q4_K_M", (RemoteFile("a", 2), RemoteFile("b", 3))).size_bytes == 5
