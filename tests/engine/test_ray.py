"""`--engine ray` on a cluster of two nodes (two raylets of this machine): the bits of the local engine, whatever dies."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from finetune.run.comparing import NOT_COMPARED
from tests import tiny

pytest.importorskip("ray", reason="pip install 'finetune[ray]'")

QUICK = {"health_check_period_ms": 500, "health_check_failure_threshold": 2, "health_check_timeout_ms": 500}
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0", "RAY_enable_metrics_collection": "false"}
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}


@pytest.fixture(scope="module")
def cluster():
    """Two nodes; a test that kills the second one starts another."""
    from ray.cluster_utils import Cluster

    patch = pytest.MonkeyPatch()
    for name, value in {**QUIET, "OMP_NUM_THREADS": "1"}.items():
        patch.setenv(name, value)
    made = Cluster(initialize_head=True, head_node_args={**NODE, "_system_config": QUICK})
    made.second = made.add_node(**NODE)
    yield made
    made.shutdown()
    patch.undo()


@pytest.fixture(scope="module")
def tagger(tmp_path_factory) -> Path:
    return tiny.save_tagger(tmp_path_factory.mktemp("tagger"))


def write_texts(path: Path, lines: int, *, seed: int = 0) -> Path:
    draw = random.Random(seed)
    path.write_text("".join(" ".join(draw.choices("abcx", k=draw.randint(1, 15))) + "\n" for _ in range(lines)))
    return path


def on(cluster, *words: object) -> list[object]:
    return [*words, "--engine", "ray", "--ray_address", cluster.address]


def predicting(model: Path, texts: Path, *words: object) -> list[object]:
    return ["predict.py", "--model_name_or_path", model, "--input_file", texts, "--device", "cpu", *words]


@pytest.mark.slow
def test_predictions_are_those_of_one_process_though_a_node_dies(cluster, call_command, tagger, tmp_path):
    texts = write_texts(tmp_path / "texts.txt", 61_000)
    local, far = tmp_path / "local.jsonl", tmp_path / "far.jsonl"
    assert call_command(*predicting(tagger, texts, "--output_file", local)).code == 0
    killed = threading.Event()

    def kill() -> None:
        parts, deadline = tmp_path / ".far.jsonl.parts", time.monotonic() + 200
        while time.monotonic() < deadline and len(list(parts.glob("[0-9]*"))) < 3:
            time.sleep(0.02)
        cluster.remove_node(cluster.second, allow_graceful=False)
        killed.set()

    killer = threading.Thread(target=kill)
    killer.start()
    done = call_command(*on(cluster, *predicting(tagger, texts, "--output_file", far, "--nproc", 2)))
    killer.join()
    assert done.code == 0 and killed.is_set(), done.stderr
    assert "A process of the cluster" in done.stderr, "the node died when all was done"
    assert far.read_bytes() == local.read_bytes()
    assert not (tmp_path / ".far.jsonl.parts").exists()
    assert call_command(*on(cluster, *predicting(tagger, texts, "--output_file", far))).last["texts"] == 61_000
    cluster.second = cluster.add_node(**NODE)


@pytest.mark.slow
def test_a_folder_becomes_a_folder_and_what_is_there_is_not_done_again(cluster, call_command, tagger, tmp_path):
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(4):
        write_texts(texts / f"{number}.txt", 50 + number, seed=number)
    local, far = tmp_path / "local", tmp_path / "far"
    assert call_command(*predicting(tagger, texts, "--output_dir", local)).code == 0
    first = call_command(*predicting(tagger, texts / "2.txt", "--output_dir", far))
    assert first.code == 0
    stamp = (far / "2.txt.jsonl").stat().st_mtime_ns
    done = call_command(*on(cluster, *predicting(tagger, texts, "--output_dir", far)))
    assert done.code == 0, done.stderr
    assert done.last["already_done"] == 1 and done.last["texts"] == 50 + 51 + 53
    names = [f"{number}.txt.jsonl" for number in range(4)]
    assert [(far / name).read_bytes() for name in names] == [(local / name).read_bytes() for name in names]
    assert (far / "2.txt.jsonl").stat().st_mtime_ns == stamp
    again = call_command(*predicting(tagger, texts, "--output_dir", far))
    assert again.last["already_done"] == 4, "the records that other machines wrote are those of this command"


@pytest.mark.slow
def test_surprisals_are_those_of_one_process(cluster, call_command, tmp_path):
    tokenizer = tiny.word_level(["[UNK]", "</s>", "a", "b", "c"], unk_token="[UNK]", eos_token="</s>")
    model = tiny.save(tiny.gpt2(5), tokenizer, tmp_path / "model")
    texts = write_texts(tmp_path / "texts.txt", 4_500)

    def words(name: str) -> list[object]:
        flags = ["--metrics_detail", "word", "--test_output_file_prefix", "t"]
        return [
            "score.py",
            "--model_name_or_path",
            model,
            "--test_file",
            texts,
            "--output_dir",
            tmp_path / name,
            *flags,
        ]

    assert call_command(*words("local")).code == 0
    done = call_command(*on(cluster, *words("far")))
    assert done.code == 0, done.stderr
    one, other = (tmp_path / name / "t-test_results.csv.gz" for name in ("local", "far"))
    assert one.read_bytes() == other.read_bytes()
    metrics = [(tmp_path / name / "metrics.json").read_bytes() for name in ("local", "far")]
    assert metrics[0] == metrics[1]


@pytest.mark.slow
def test_a_token_store_and_pregenerated_epochs_are_those_of_this_machine(
    cluster, call_command, tiny_bert, tmp_path, monkeypatch
):
    draw = random.Random(0)
    corpus = tmp_path / "corpus.txt"
    lines = (
        "".join(f"{' '.join(draw.choices(['one', 'two', 'three'], k=9))}.\n" for _ in range(20)) for _ in range(1500)
    )
    corpus.write_text("\n".join(lines))

    def pregenerate(name: str) -> list[object]:
        flags = ["--epochs_to_generate", 1, "--max_seq_len", 32]
        return ["pregenerate_training_data.py", "--train_corpus", corpus, "--bert_model", tiny_bert, *flags,
                "--output_dir", tmp_path / name]  # fmt: skip

    def tokenize(name: str) -> list[object]:
        flags = ["--build_dataset_only", "--datasets_cache_dir", tmp_path / f"cache-{name}"]
        return ["run_mlm.py", "--model_name_or_path", tiny_bert, "--train_file", corpus, *flags,
                "--output_dir", tmp_path / f"mlm-{name}"]  # fmt: skip

    for words in (pregenerate, tokenize):
        assert call_command(*words("local")).code == 0
        done = call_command(*on(cluster, *words("far")))
        assert done.code == 0 and "on the Ray cluster" in done.stderr, done.stderr
    epochs = [(tmp_path / name / "epoch_0.safetensors").read_bytes() for name in ("local", "far")]
    assert epochs[0] == epochs[1]
    stores = [next((tmp_path / f"cache-{name}").glob("corpus-*")) for name in ("local", "far")]
    names = sorted(path.name for path in stores[0].iterdir())
    assert [(stores[0] / name).read_bytes() for name in names] == [(stores[1] / name).read_bytes() for name in names]


@pytest.mark.slow
@pytest.mark.parametrize("flags", [["--line_by_line"], []], ids=["lines", "documents"])
def test_an_interrupted_token_store_goes_on_with_the_parts_that_are_there(
    cluster, call_command, tiny_bert, tmp_path, monkeypatch, flags
):
    from finetune.engine import ledger
    from finetune.errors import Preempted

    corpus = write_texts(tmp_path / "corpus.txt", 150_000)

    def tokenize(name: str) -> list[object]:
        made = ["--build_dataset_only", "--datasets_cache_dir", tmp_path / f"cache-{name}", *flags]
        return ["run_mlm.py", "--model_name_or_path", tiny_bert, "--train_file", corpus, *made,
                "--output_dir", tmp_path / f"mlm-{name}"]  # fmt: skip

    assert call_command(*tokenize("local")).code == 0
    give = ledger.Ledger.results

    def stop_in_the_middle(self):
        for result in give(self):
            if self.turn > 2:
                raise Preempted("stopped by a test")
            yield result

    with monkeypatch.context() as patch:
        patch.setattr(ledger.Ledger, "results", stop_in_the_middle)
        assert call_command(*on(cluster, *tokenize("far"))).code == 75
    parts = next((tmp_path / "cache-far").glob(".corpus-*.parts"))
    kept = {path.name: path.stat().st_mtime_ns for path in parts.glob("[0-9]*")}
    assert len(kept) >= 2
    written = []
    keep = ledger.KeptResults.write
    monkeypatch.setattr(ledger.KeptResults, "write", lambda *words: (written.append(words[1]), keep(*words)))
    done = call_command(*on(cluster, *tokenize("far")))
    assert done.code == 0 and f"{len(kept)} parts of this work are there already" in done.stderr, done.stderr
    assert written and not {*map(str, written)} & kept.keys(), "no part is done twice"
    stores = [next((tmp_path / f"cache-{name}").glob("corpus-*")) for name in ("local", "far")]
    names = sorted(path.name for path in stores[0].iterdir())
    assert [(stores[0] / name).read_bytes() for name in names] == [(stores[1] / name).read_bytes() for name in names]
    assert not parts.exists()


@pytest.mark.slow
def test_a_file_that_a_node_does_not_see_is_named_with_the_node(cluster, tmp_path):
    from finetune.engine.ray_engine import RayEngine
    from finetune.errors import DataError
    from finetune.run.engines import Mapped, Needs

    engine = RayEngine(cluster.address, processes=1, addresses={}, on_processor=True)
    try:
        with pytest.raises(
            DataError, match=r"absent\.txt: on node .*: this is not there; put it where all nodes see it"
        ):
            list(engine.work_on(Mapped(len, ["a"]), Needs([tmp_path / "absent.txt"])))
        assert list(engine.work_on(Mapped(len, ["a", "bb", ""]), Needs())) == [1, 2, 0]
    finally:
        engine.close()


@pytest.mark.slow
def test_a_signal_leaves_what_is_done_and_no_process_and_the_next_start_goes_on(
    cluster, call_command, repository, tagger, tmp_path
):
    texts, output = write_texts(tmp_path / "texts.txt", 61_000), tmp_path / "out.jsonl"
    command = [
        sys.executable,
        repository / "scripts/predict.py",
        *predicting(tagger, texts)[1:],
        "--output_file",
        output,
    ]
    far = [*command, "--engine", "ray", "--ray_address", "local"]
    temporary = Path("/tmp") / f"ft-{os.getpid()}"  # short, as Ray's sockets need it
    temporary.mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(temporary)}
    parts = tmp_path / ".out.jsonl.parts"
    process = subprocess.Popen(
        list(map(str, far)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    deadline = time.monotonic() + 200
    while process.poll() is None and not list(parts.glob("[0-9]*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 75, stderr
    assert json.loads(stdout.splitlines()[-1])["status"] == "preempted"
    gone, alive = psutil.wait_procs(children, timeout=10)
    assert gone and not alive
    kept = {path.name for path in parts.glob("[0-9]*")}
    assert kept and not output.exists()
    done = call_command(*on(cluster, *predicting(tagger, texts, "--output_file", output)))
    assert done.code == 0 and f"{len(kept)} parts of this work are there already" in done.stderr, done.stderr
    assert [path.name for path in temporary.iterdir() if not path.name.startswith("torchinductor")] == []
    lines = [json.loads(line)["text"] for line in output.open(encoding="utf-8")]
    assert lines == texts.read_text(encoding="utf-8").splitlines()
    for path in temporary.iterdir():
        path.rmdir()
    temporary.rmdir()


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--ray_address", "local"], "--ray_address local is given without --engine ray"),
        (["--engine", "ray", "--ray_address", "nowhere"], "auto, local or HOST:PORT is allowed"),
        (["--engine", "ray"], "standard input is read by one process"),
        (["--engine", "ray", "--ray_address", "127.0.0.1:1", "--input_file", "TEXTS"], "no Ray cluster answers"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(call_command, tagger, tmp_path, words, sentence):
    texts = write_texts(tmp_path / "texts.txt", 2)
    words = [texts if word == "TEXTS" else word for word in words]
    done = call_command("predict.py", "--model_name_or_path", tagger, *words)
    assert done.code == 2 and sentence in done.stderr, done.stderr


def test_without_the_extra_one_sentence_names_it(call_command, tagger, tmp_path, monkeypatch):
    from finetune.engine import cluster

    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    done = call_command(*predicting(tagger, write_texts(tmp_path / "t.txt", 2), "--engine", "ray"))
    assert done.code == 2 and "pip install 'finetune[ray]'" in done.stderr


def test_the_engine_is_no_other_run():
    assert {"engine", "ray_address"} <= NOT_COMPARED
