"""The hub is asked once and quickly."""

import http.server
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError

from harness.models import hub
from harness.models.hub import HubUnreachable, fetch, is_path, require_hub


@pytest.fixture
def answering_endpoint() -> Iterator[str]:
    """A server that answers every request with 501."""
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    server.RequestHandlerClass.log_message = lambda *_: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.mark.usefixtures("online")
def test_any_answer_will_do(answering_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint that answers with an error status is there."""
    monkeypatch.setattr(constants, "ENDPOINT", answering_endpoint)

    require_hub("model 'x'")


@pytest.mark.usefixtures("online")
def test_nobody_there_is_a_line_that_names_the_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused connection is an error of one line with what was wanted, where, and the offline switch."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(
            HubUnreachable, match=r"^model 'x': http://127.0.0.1:\d+ is out .*HF_HUB_OFFLINE=1.*$"
        ) as caught:
            require_hub("model 'x'")
    assert str(caught.value) == f"{caught.value.problem}; {caught.value.advice}"
    assert caught.value.advice.startswith("name local files instead, or set HF_HUB_OFFLINE=1")


@pytest.mark.usefixtures("online")
def test_silence_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that accepts and says nothing is given up after the time allowed."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.perf_counter()
        with pytest.raises(HubUnreachable):
            require_hub("model 'x'", timeout_seconds=0.2)

    assert time.perf_counter() - started < 2


@pytest.mark.usefixtures("online")
def test_an_endpoint_that_is_no_address_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_ENDPOINT without a scheme is said, not raised through."""
    monkeypatch.setattr(constants, "ENDPOINT", "nowhere")

    with pytest.raises(HubUnreachable, match="unknown url type"):
        require_hub("model 'x'")


def test_offline_on_purpose_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the switch set nothing is probed."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "_probe", lambda *_: pytest.fail("the hub was asked"))

    require_hub("model 'x'")


def test_what_is_not_cached_offline_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An offline user is told that the cache does not have it."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))

    with pytest.raises(HubUnreachable, match=r"^model 'nobody/nothing' .*local folder$"):
        fetch("model 'nobody/nothing'", "nobody/nothing", revision=None, patterns=("*.json",))


def test_only_named_files_are_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Patterns and revision reach the client, and nested folders are left out."""
    asked = {}

    def snapshot_download(repository: str, **options: object) -> str:
        asked.update(options, repository=repository)
        return str(tmp_path)

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)

    assert fetch("model 'a/b'", "a/b", revision="v1", patterns=("*.json",)) == tmp_path
    assert asked == {
        "repository": "a/b",
        "revision": "v1",
        "allow_patterns": ["*.json"],
        "ignore_patterns": ["*/*"],
    }
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda *_a, **_k: (_ for _ in ()).throw(LocalEntryNotFoundError("gone\nx"))
    )
    with pytest.raises(HubUnreachable, match=r"\(gone\)"):
        fetch("model 'a/b'", "a/b", revision=None, patterns=())


@pytest.mark.parametrize(
    ("name", "expected"), [("./x", True), ("/x", True), ("~/x", True), ("x/", True), ("a/b", False)]
)
def test_path_or_hub_id(name: str, expected: bool) -> None:
    """Only what cannot be a hub id is taken for a path."""
    assert is_path(name) is expected
