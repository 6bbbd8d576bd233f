from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from finetune.data import sources
from finetune.data.sources import Official, Wanted, download_file, find_corpus
from finetune.errors import DataError

CONTENT = b"a\tO\n"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def nothing_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No environment, no hub, a cache of our own."""

    def offline(*args: Any, **kwargs: Any) -> str:
        raise ConnectionError("no hub here")

    monkeypatch.delenv("FINETUNE_DATA_DIR", raising=False)
    monkeypatch.setenv("FINETUNE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(sources, "snapshot_download", offline)
    monkeypatch.setattr(sources.constants, "HF_HUB_OFFLINE", False)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a web server on this machine that publishes train.txt."""
    published = tmp_path / "published"
    published.mkdir()
    (published / "train.txt").write_bytes(CONTENT)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(published))) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def wanted(**more: Any) -> Wanted:
    patterns = {"train": ("train.txt", "train.conll"), "test": ("test.txt",)}
    return Wanted("tiny", ("tiny", "tiny-1"), patterns, **more)


def place(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(CONTENT) if name.endswith(".gz") else CONTENT)
    return folder


def test_places_are_tried_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str, caplog: pytest.LogCaptureFixture
) -> None:
    typed = place(tmp_path / "typed", "train.txt.gz", "test.txt")
    root = place(tmp_path / "root", "tiny-1/train.conll")
    snapshot = place(tmp_path / "snapshot", "all/train/0000.parquet", "all/train/0001.parquet")
    corpus = wanted(hub="some/tiny", hub_config="all", official={"train.txt": Official(f"{server}/train.txt", SHA256)})

    published = find_corpus(corpus, tmp_path / "empty-or-not-there")
    assert published.files == {"train": [tmp_path / "cache/data/tiny/train.txt"]}
    monkeypatch.setattr(sources, "snapshot_download", lambda *args, **kwargs: str(snapshot))
    assert [path.name for path in find_corpus(corpus, None).files["train"]] == ["0000.parquet", "0001.parquet"]
    monkeypatch.setenv("FINETUNE_DATA_DIR", str(root))
    assert find_corpus(corpus, None).files == {"train": [root / "tiny-1/train.conll"]}
    assert find_corpus(corpus, typed).files == {"train": [typed / "train.txt.gz"], "test": [typed / "test.txt"]}
    assert find_corpus(corpus, root).place == str(root / "tiny-1")
    assert "it is looked for elsewhere" not in caplog.text
    (tmp_path / "empty").mkdir()
    find_corpus(corpus, tmp_path / "empty")
    assert "tiny is not in" in caplog.text


def test_the_hub_is_asked_for_the_parquet_branch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = {}

    def download(name: str, **kwargs: Any) -> str:
        asked.update(kwargs, name=name)
        return str(place(tmp_path / "snapshot", "th/train/0000.parquet"))

    monkeypatch.setattr(sources, "snapshot_download", download)
    find_corpus(wanted(hub="some/tiny", hub_config="th"), None)
    assert asked == {
        "name": "some/tiny",
        "repo_type": "dataset",
        "revision": "refs/convert/parquet",
        "allow_patterns": ["th/*/*.parquet"],
    }


def test_nowhere_says_where_it_looked_and_what_to_place_where(tmp_path: Path) -> None:
    corpus = wanted(
        hub="some/tiny", official={"train.txt": Official("http://127.0.0.1:9/train.txt", SHA256)}, advice="ask"
    )
    with pytest.raises(DataError) as caught:
        find_corpus(corpus, place(tmp_path / "other", "readme"))
    sentence = str(caught.value)
    for part in (
        f"train.txt, test.txt is not in {tmp_path / 'other'}",
        "FINETUNE_DATA_DIR is not set",
        "some/tiny",
        "no hub here",
        "http://127.0.0.1:9/train.txt failed",
        "place train.txt, test.txt (or the same with .gz) in a folder and pass it with --data_dir",
        "$FINETUNE_DATA_DIR/tiny",
        "; ask.",
    ):
        assert part in sentence


def test_offline_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    monkeypatch.setattr(sources.constants, "HF_HUB_OFFLINE", True)
    corpus = wanted(official={"train.txt": Official(f"{server}/train.txt", SHA256)})
    with pytest.raises(DataError, match="its official address was not tried"):
        find_corpus(corpus, None)


def test_only_the_expected_content_is_kept(tmp_path: Path, server: str) -> None:
    folder = tmp_path / "fetched"
    with pytest.raises(DataError, match=f"another content than expected .*{SHA256}"):
        download_file("train.txt", Official(f"{server}/train.txt", "0" * 64), folder)
    assert list(folder.iterdir()) == []
    path = download_file("train.txt", Official(f"{server}/train.txt", SHA256), folder)
    assert path.read_bytes() == CONTENT
    assert [item.name for item in folder.iterdir()] == ["train.txt"]


def test_what_was_fetched_is_not_fetched_again(tmp_path: Path) -> None:
    folder = place(tmp_path / "fetched", "train.txt")
    official = Official("http://127.0.0.1:9/unreachable", SHA256)
    assert download_file("train.txt", official, folder) == folder / "train.txt"
    (folder / "train.txt").write_bytes(b"damaged")
    with pytest.raises(OSError, match="refused"):
        download_file("train.txt", official, folder)
