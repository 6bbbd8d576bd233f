"""Addresses in place of paths: through whole commands, on memory://, on a local S3 server, over connections that break."""

from __future__ import annotations

import http.server
import json
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from finetune.errors import RunError, UsageError
from finetune.run import remote_files
from finetune.run.remote_files import RemoteFiles, fetch

WORDS = {"good": ("fine", "great", "lovely"), "bad": ("awful", "poor", "dull")}


def make_rows(count: int, seed: int) -> bytes:
    draw = random.Random(seed)
    labels = [draw.choice(sorted(WORDS)) for _ in range(count)]
    rows = [{"text": f"a {draw.choice(WORDS[label])} film", "label": label} for label in labels]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FINETUNE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(remote_files, "SECONDS", 0.01)


@pytest.fixture(params=["memory", "s3"])
def bucket(request, tmp_path_factory) -> Iterator[str]:
    """An address under which things can be put."""
    if request.param == "memory":
        yield f"memory://bucket{random.random()}"
        return
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0, verbose=False)
    pytest.importorskip("s3fs")
    server.start()
    host, port = server.get_host_and_port()
    patch = pytest.MonkeyPatch()
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
        ("AWS_ACCESS_KEY_ID", "key-of-nobody"),
        ("AWS_SECRET_ACCESS_KEY", "secret-of-nobody"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        patch.setenv(name, value)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    name = f"bucket-{random.randrange(1 << 40)}"  # the server keeps its state for a whole process
    s3fs.S3FileSystem().mkdir(name)
    yield f"s3://{name}"
    s3fs.S3FileSystem.clear_instance_cache()
    patch.undo()
    server.stop()


def put(address: str, content: bytes) -> None:
    with fsspec.open(address, "wb") as file:
        file.write(content)


def list_names(address: str) -> set[str]:
    system, path = fsspec.core.url_to_fs(address)
    system.invalidate_cache()
    return {name[len(path) :].strip("/") for name in system.find(path)}


@pytest.mark.slow
def test_a_run_is_trained_from_an_address_sent_to_one_and_predicts_from_there(
    bucket, tiny_bert, call_command, tmp_path
):
    for seed, name in enumerate(("train", "dev")):
        put(f"{bucket}/{name}.jsonl", make_rows(16, seed))
    put(f"{bucket}/texts.txt", b"a fine film\na poor film\n")
    training = [
        *("run_glue.py", "--model_name_or_path", str(tiny_bert), "--train_file", f"{bucket}/train.jsonl"),
        *("--validation_file", f"{bucket}/dev.jsonl", "--output_dir", f"{bucket}/run", "--num_train_epochs", "1"),
        *("--do_train", "--do_eval"),
    ]
    done = call_command(*training)
    assert done.code == 0 and done.last["output_dir"] == f"{bucket}/run", done.stderr
    names = list_names(f"{bucket}/run")
    assert {"model.safetensors", "run.json", "metrics.json", "report.html"} <= names
    assert not any(name.startswith((".", "checkpoint-")) for name in names)
    with fsspec.open(f"{bucket}/run/run.json") as file:
        record = json.load(file)
    assert record["status"] == "done" and record["arguments"]["train_file"] == f"{bucket}/train.jsonl"

    predict = ["predict.py", "--model_name_or_path", f"{bucket}/run", "--input_file", f"{bucket}/texts.txt"]
    said = call_command(*predict, "--output_file", f"{bucket}/answers.jsonl")
    assert said.code == 0, said.stderr
    with fsspec.open(f"{bucket}/answers.jsonl") as file:
        assert [json.loads(line)["text"] for line in file] == ["a fine film", "a poor film"]
    assert call_command(*predict, "--output_file", f"{bucket}/answers.jsonl").last["status"] == "already_done"

    again = call_command(*training)
    assert again.last["status"] == "already_done", again.last
    import shutil

    shutil.rmtree(tmp_path / "cache")  # another machine
    again = call_command(*training)
    assert again.last["status"] == "already_done", again.last
    other = call_command(*training, "--learning_rate", "1e-3")
    assert other.code == 2 and "learning_rate" in other.last["reason"]


def test_what_has_not_changed_is_not_fetched_again_and_what_has_is(bucket, caplog):
    put(f"{bucket}/folder/a.txt", b"one")
    put(f"{bucket}/folder/deep/b.txt", b"two")
    place = fetch(f"{bucket}/folder")
    assert (place / "a.txt").read_bytes() == b"one" and (place / "deep" / "b.txt").read_bytes() == b"two"
    caplog.clear()
    with caplog.at_level("INFO"):
        assert fetch(f"{bucket}/folder") == place and "Fetching" not in caplog.text
    system, path = fsspec.core.url_to_fs(f"{bucket}/folder")
    put(f"{bucket}/folder/a.txt", b"1")
    system.rm(f"{path}/deep/b.txt")
    fetch(f"{bucket}/folder")
    assert (place / "a.txt").read_bytes() == b"1" and not (place / "deep" / "b.txt").exists()


def test_addresses_that_are_none(bucket, monkeypatch):
    remote = RemoteFiles()
    with pytest.raises(UsageError, match="there is nothing at"):
        remote.localize(f"{bucket}/none.txt", "train_file")
    with pytest.raises(UsageError, match="stays on this machine"):
        remote.localize(f"{bucket}/cache", "cache_dir")
    with pytest.raises(UsageError, match="nothing can be written"):
        remote.localize("https://example.org/x", "output_dir")
    monkeypatch.setattr(remote_files, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install gcsfs"):
        remote.localize("gs://bucket/x", "train_file")


class Breaking(http.server.BaseHTTPRequestHandler):
    """Ends connections in the middle of a file, as often as `failures` says."""

    failures = 0
    content = b"text,label\na fine film,good\n"

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        if type(self).failures:
            type(self).failures -= 1
            self.wfile.write(self.content[:5])
            self.wfile.flush()
            self.connection.close()
            return
        self.wfile.write(self.content)

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Breaking) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()


@pytest.mark.parametrize("failures", [2, 100])
def test_a_lost_connection_is_tried_again_and_leaves_no_half_file(server, failures, caplog):
    Breaking.failures = failures
    address = f"{server}/train.csv"
    if failures == 2:
        assert fetch(address).read_bytes() == Breaking.content and caplog.text.count("trying again") == 2
        return
    with pytest.raises(RunError, match="after 4 attempts"):
        fetch(address)
    left = [path for path in remote_files.cache_folder().rglob("*") if path.is_file()]
    assert not left


def test_a_server_that_is_gone_ends_a_command_with_one_sentence(call_command, tiny_bert):
    gone = call_command(
        *("run_glue.py", "--model_name_or_path", str(tiny_bert), "--train_file", "http://127.0.0.1:9/train.csv"),
        *("--output_dir", "never", "--do_train"),
    )
    assert gone.code == 1 and "cannot be reached, after 4 attempts" in gone.last["reason"]
    assert not Path("never").exists()


@pytest.mark.slow
def test_what_cannot_be_sent_stays_here_and_is_sent_by_the_next_start(tiny_bert, call_command, monkeypatch):
    bucket = f"memory://bucket{random.random()}"
    put(f"{bucket}/train.jsonl", make_rows(16, 0))
    training = [
        *("run_glue.py", "--model_name_or_path", str(tiny_bert), "--train_file", f"{bucket}/train.jsonl"),
        *("--output_dir", f"{bucket}/run", "--max_steps", "1", "--do_train"),
    ]
    system = type(fsspec.filesystem("memory"))
    whole = system.put_file

    def refuse(*words: object, **named: object) -> None:
        raise ConnectionResetError("reset by peer")

    monkeypatch.setattr(system, "put_file", refuse)
    failed = call_command(*training)
    assert failed.code == 1 and "run the same command again to send it" in failed.last["reason"]
    assert not list_names(f"{bucket}/run")
    monkeypatch.setattr(system, "put_file", whole)
    sent = call_command(*training)
    assert sent.last["status"] == "already_done" and "run.json" in list_names(f"{bucket}/run")
