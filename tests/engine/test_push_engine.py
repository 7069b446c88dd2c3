"""Uploads with the real huggingface_hub to a hub of our own, over HTTP."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lfwrap.engine.locate import locate_engine
from lfwrap.errors import EngineError, PreflightError
from lfwrap.export.hub import Push, check_push, push_folder

sys.path.insert(0, str(Path(__file__).parent))
from hub_server import TOKEN, start_hub

pytestmark = pytest.mark.engine
PUSH = Push("me/law")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    hub, server = start_hub()
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    yield hub
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "law"
    (path / "gguf").mkdir(parents=True)
    (path / "README.md").write_text("---\ntags:\n  - lfwrap\n---\n# law\n")
    (path / "export.json").write_text('{"out": "/home/me"}')
    (path / "gguf" / "law.gguf").write_bytes(b"GGUF")
    return path


def test_a_folder_is_uploaded_privately_without_our_notes(hub, folder):
    engine = locate_engine()
    check_push(engine, PUSH)
    assert push_folder(engine, folder, PUSH).startswith(f"{hub.address}/me/law/commit/")
    assert hub.private == {"me/law": True}
    assert hub.repositories["me/law"].keys() == {"README.md", "gguf/law.gguf"}
    assert hub.repositories["me/law"]["gguf/law.gguf"] == b"GGUF"


def test_public_is_asked_for_by_name_and_old_files_go(hub, folder):
    hub.repositories["me/old"], hub.private["me/old"] = {"stale.bin": b"x"}, False
    push = Push("me/old", private=False, replace=True)
    check_push(locate_engine(), push)
    push_folder(locate_engine(), folder, push)
    assert "stale.bin" not in hub.repositories["me/old"]
    push_folder(locate_engine(), folder, Push("me/open", private=False))
    assert hub.private["me/open"] is False


def test_a_repository_with_files_is_not_overwritten(hub):
    hub.repositories["me/law"], hub.private["me/law"] = {".gitattributes": b"", "weights": b"x"}, True
    with pytest.raises(PreflightError, match=r"me/law holds 1 files \(--force replaces them\)"):
        check_push(locate_engine(), PUSH)
    hub.repositories["me/law"].pop("weights")
    check_push(locate_engine(), PUSH)
    hub.private["me/law"] = False
    with pytest.raises(PreflightError, match="me/law is public"):
        check_push(locate_engine(), PUSH)


def test_a_wrong_or_missing_token_is_told_before_anything_and_never_shown(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong" + "y" * 20)
    with pytest.raises(PreflightError, match="Invalid user token") as caught:
        check_push(locate_engine(), PUSH)
    assert "hf_wrong" not in str(caught.value)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(PreflightError, match="no token"):
        check_push(locate_engine(), PUSH)
    assert not any("create" in request for request in hub.requests)


def test_a_refused_upload_is_told_without_the_token(hub, folder):
    hub.refuse_commits = True
    with pytest.raises(EngineError, match="quota") as caught:
        push_folder(locate_engine(), folder, PUSH)
    assert TOKEN not in str(caught.value)


def test_offline_is_respected(hub, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(PreflightError, match="HF_HUB_OFFLINE"):
        check_push(locate_engine(), PUSH)
