"""finetune serve: answers of predict.py over HTTP, many at a time, and whatever strangers may send."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time

import httpx
import pytest

from finetune.models.native.serving import why_no_kernels
from tests.serving.served import make_model, serving

TEXTS = ["Maria flew to Berlin", "What a film!", "", "ฉันรักภาษาไทย", "don't 🎉 stop", "a\tb", "word " * 300]


@pytest.fixture(scope="module")
def models(tiny_bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    return {head: make_model(tiny_bert, head, folder / head) for head in ("tagger", "classifier")}


@pytest.fixture(scope="module")
def tagger(models):
    with serving(models["tagger"], "--max_texts", 8, "--max_tokens", 400, "--max_body", 20_000) as service:
        yield service


def predict_offline(run_command, model, rows, tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    done = run_command("predict.py", "--model_name_or_path", model, "--input_file", file)
    assert done.code == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def require_exact_batches():
    """Answers hang on no batch where the encoder runs natively; elsewhere they agree to rounding (docs/serving.md)."""
    reason = why_no_kernels()
    if reason:
        pytest.skip(f"no native encoder here: {reason}")


@pytest.mark.slow
@pytest.mark.parametrize("head", ["tagger", "classifier"])
def test_answers_are_those_of_predict(run_command, models, tmp_path, head):
    offline = predict_offline(run_command, models[head], [{"text": text} for text in TEXTS], tmp_path)
    with serving(models[head]) as service:
        answer = service.post({"texts": TEXTS})
        assert answer.status_code == 200 and answer.json()["predictions"] == offline
        assert service.post({"texts": []}).json() == {"predictions": []}
        health = httpx.get(f"{service.url}/health").json()
        assert health["status"] == "ok" and health["model"] == head
        assert service.end()[0] == 0


ANSWERS = {
    "pairs": ("--top_k", 2, "--abstain_below", 0.5),
    "several": ("--threshold", "bad=0.2,0.55", "--top_k", 1),
    "values": (),
    "tagger": ("--top_k", 3, "--abstain_below", 0.6),
}


@pytest.mark.parametrize(
    ("head", "backend"),
    [*((head, "torch") for head in ANSWERS), ("pairs", "onnx"), ("tagger", "onnx"), ("several", "openvino")],
)
def test_answers_of_every_kind_of_model_are_those_of_predict(call_command, tiny_bert, tmp_path, head, backend):
    """Pairs, several labels, numbers and words, each with flags of its own, by the folder of a run and by exported ones."""
    model = make_model(tiny_bert, head, tmp_path / head)
    if backend != "torch":
        pytest.importorskip("onnxruntime" if backend == "onnx" else "openvino")
        export = ("--format", backend, "--output_dir", tmp_path / backend)
        done = call_command("export.py", model, *export)
        assert done.code == 0, done.stderr
        model = tmp_path / backend
    seconds = [f"second {n}" for n in range(len(TEXTS))] if head == "pairs" else None
    rows = [{"text": text} | ({"text_pair": seconds[n]} if seconds else {}) for n, text in enumerate(TEXTS)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    done = call_command("predict.py", "--model_name_or_path", model, "--input_file", file, *ANSWERS[head])
    assert done.code == 0, done.stderr
    offline = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(offline) == len(TEXTS)
    with serving(model, *ANSWERS[head]) as service:
        answer = service.post({"texts": TEXTS} | ({"text_pairs": seconds} if seconds else {}))
        assert answer.status_code == 200 and answer.json()["predictions"] == offline
        one_by_one = [
            {"texts": [text]} | ({"text_pairs": [seconds[n]]} if seconds else {}) for n, text in enumerate(TEXTS)
        ]
        alone = [service.post(body).json()["predictions"][0] for body in one_by_one]
    if backend == "torch":
        require_exact_batches()
        assert alone == offline
    else:
        assert_close(alone, offline)


def assert_close(some, others):
    """Equal but for rounding of numbers, which exported models do by the shape of a batch."""
    assert type(some) is type(others)
    if isinstance(some, dict):
        assert some.keys() == others.keys()
        some, others = list(some.values()), list(others.values())
    if isinstance(some, list):
        assert len(some) == len(others)
        for one, other in zip(some, others, strict=True):
            assert_close(one, other)
    else:
        assert some == (pytest.approx(others, abs=1e-4) if isinstance(others, float) else others)


def test_a_threshold_for_a_model_of_one_label_is_refused(call_command, models):
    done = call_command("serve.py", models["classifier"], "--port", 0, "--threshold", "0.5")
    assert done.code == 2 and "--threshold is for models that give several labels" in done.last["reason"]


def test_words_are_tagged_as_they_are(run_command, models, tagger, tmp_path):
    sentences = [["Maria", "Santos", "flew"], ["New York", "!"], []]
    offline = predict_offline(run_command, models["tagger"], [{"words": words} for words in sentences], tmp_path)
    assert tagger.post({"tokens": sentences}).json()["predictions"] == offline


def test_entities_have_their_places_in_the_raw_text(tagger):
    texts = [text for text in TEXTS if len(text) < 100]
    entities = 0
    for text, answer in zip(texts, tagger.post({"texts": texts}).json()["predictions"], strict=True):
        assert len(answer["words"]) == len(answer["tags"])
        for entity in answer["entities"]:
            entities += 1
            assert text[entity["start"] : entity["end"]] == entity["text"]
    assert entities > 0


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"{", 400, "no JSON"),
        (b"\xff\xfe", 400, "not UTF-8"),
        (b"[" * 10_000, 400, "no JSON"),
        (b'{"texts": [' + b"[" * 5000 + b"]" * 5000 + b"]}", 400, "nested too deeply|no JSON"),
        (b'{"texts": ["\\ud800"]}', 400, "surrogate"),
        (b'{"texts": ["a\x00b"]}', 400, "no JSON"),
        (b'{"texts": ["a\\u0000b"]}', 422, "null character"),
        (b'{"texts": [' + b"9" * 6000 + b"]}", 400, "digits"),
        ([], 422, "is a list; an object"),
        (None, 422, "is null"),
        ({}, 422, "either texts"),
        ({"texts": ["a"], "tokens": [["a"]]}, 422, "either texts"),
        ({"text": ["a"]}, 422, "did you mean 'texts'"),
        ({"texts": "a"}, 422, "texts is a string; a list"),
        ({"texts": ["a", 7]}, 422, "Text 2 is a number"),
        ({"texts": [True]}, 422, "Text 1 is a boolean"),
        ({"tokens": ["a"]}, 422, "Sentence 1 of tokens is a string"),
        ({"tokens": [["a", None]]}, 422, "Token 2 of sentence 1 is null"),
        ({"texts": ["a"], "text_pairs": ["b"]}, 422, "single texts"),
        ({"texts": ["a"] * 9}, 413, "at most 8 are allowed"),
        ({"texts": ["one two " * 300]}, 413, "Text 1 has 600 subword tokens; at most 400"),
        ({"texts": ["a" * 7000]}, 413, "7,000 characters"),
        ({"texts": ["a" * 30_000]}, 413, "at most 20,000 are allowed"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(tagger, body, status, says):
    answer = tagger.post(body)
    error = answer.json()["error"]
    assert answer.status_code == status, error
    assert re.search(says, error) and error.endswith(".") and "\n" not in error
    assert tagger.post({"texts": ["still here"]}).status_code == 200
    assert "Traceback" not in "".join(tagger.said)


def test_headers_and_routes_that_are_none(tagger):
    assert tagger.post({"texts": []}, headers={"Content-Type": "text/plain"}).status_code == 415
    assert tagger.post(b"x", headers={"Content-Encoding": "gzip"}).status_code == 415
    assert tagger.post({"texts": []}, headers={"Host": "evil.example"}).status_code == 421
    assert httpx.get(f"{tagger.url}/nothing").status_code == 404
    assert httpx.get(f"{tagger.url}/predict").status_code == 405
    assert "error" in httpx.get(f"{tagger.url}/predict").json()
    for path in ("/docs", "/redoc"):  # they would fetch from another host
        assert httpx.get(f"{tagger.url}{path}").status_code == 404


def test_a_body_without_a_length_is_bounded_too(tagger):
    answer = httpx.post(
        f"{tagger.url}/predict", content=iter([b"x" * 9000] * 5), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 413


def test_the_page_fetches_from_this_service_alone(tagger):
    page = httpx.get(tagger.url)
    assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    for name in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert name == "data:," or httpx.get(f"{tagger.url}/{name}").status_code == 200
    for name in ("", "page.js", "page.css"):
        assert "//" not in re.sub(r"// .*", "", httpx.get(f"{tagger.url}/{name}").text)


def test_metrics_and_openapi(tagger):
    tagger.post({"texts": ["a b"]})
    text = httpx.get(f"{tagger.url}/metrics").text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert int(values['finetune_requests_total{path="/predict",status="200"}']) >= 1
    assert int(values["finetune_texts_total"]) >= 1 and int(values["process_resident_memory_bytes"]) > 10**7
    assert values['finetune_predict_seconds_bucket{le="+Inf"}'] == values["finetune_predict_seconds_count"]
    schema = httpx.get(f"{tagger.url}/openapi.json").json()
    assert set(schema["paths"]) == {"/predict", "/health", "/metrics"}
    assert "429" in schema["paths"]["/predict"]["post"]["responses"]


async def ask_all(url, bodies, at_once):
    """(status, answer) of every body, so many at a time."""
    gate = asyncio.Semaphore(at_once)
    limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=120) as client:

        async def ask(body):
            async with gate:
                answer = await client.post("/predict", json=body)
                return answer.status_code, answer.json(), answer.headers

        return await asyncio.gather(*map(ask, bodies))


def resident(service) -> int:
    text = httpx.get(f"{service.url}/metrics").text
    return int(re.search(r"^process_resident_memory_bytes (\d+)", text, re.M).group(1))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_thousand_requests_at_200_a_time(run_command, models, tmp_path):
    require_exact_batches()
    texts = [f"Maria number {index} flew to Berlin " + "again " * (index % 40) for index in range(10_000)]
    offline = predict_offline(run_command, models["tagger"], [{"text": text} for text in texts], tmp_path)
    with serving(models["tagger"]) as service:
        asyncio.run(ask_all(service.url, [{"texts": [text]} for text in texts[:1000]], 200))
        before, start = resident(service), time.monotonic()
        answers = asyncio.run(ask_all(service.url, [{"texts": [text]} for text in texts], 200))
        print(f"{len(texts) / (time.monotonic() - start):.0f} requests a second")
        grown = resident(service) - before
        assert {status for status, _, _ in answers} == {200}
        assert [answer["predictions"] for _, answer, _ in answers] == [[row] for row in offline]
        assert grown < 150 * 2**20
        code, last = service.end()
        assert (code, last["status"]) == (0, "done") and last["batches"] < last["texts"] == 11_000


def test_a_flood_is_told_to_come_again(models):
    with serving(models["tagger"], "--max_waiting", 4) as service:
        bodies = [{"texts": [f"{index} " + "word " * 200] * 20} for index in range(60)]
        answers = asyncio.run(ask_all(service.url, bodies, 60))
        statuses = [status for status, _, _ in answers]
        assert set(statuses) == {200, 429}
        refused = next((answer, headers) for status, answer, headers in answers if status == 429)
        assert 1 <= int(refused[1]["retry-after"]) <= 60 and "come again" in refused[0]["error"]
        assert service.post({"texts": ["a"]}).status_code == 200


def test_an_answer_that_takes_too_long_is_given_up(models):
    with serving(models["tagger"], "--timeout", 0.2) as service:
        body = {"texts": ["word " * 200] * 256}
        statuses = [status for status, _, _ in asyncio.run(ask_all(service.url, [body] * 4, 4))]
        assert 503 in statuses and set(statuses) <= {200, 503}
        time.sleep(1)
        assert service.post({"texts": ["a"]}).status_code == 200


def test_requests_on_their_way_are_answered_after_sigterm(models):
    with serving(models["tagger"]) as service:

        async def ask_and_stop():
            asking = asyncio.create_task(ask_all(service.url, [{"texts": ["word " * 200] * 64}] * 8, 8))
            await asyncio.sleep(0.4)
            service.process.send_signal(signal.SIGTERM)
            return await asking

        assert {status for status, _, _ in asyncio.run(ask_and_stop())} == {200}
        assert service.process.wait(timeout=60) == 0
        assert "answering the requests that have come" in "".join(service.said)


def test_addresses_that_cannot_be_listened_to(run_command, models, tagger):
    port = tagger.url.rsplit(":", 1)[1]
    done = run_command("serve.py", models["tagger"], "--port", port)
    assert done.code == 2 and f"--port {port} cannot be listened to" in done.last["reason"]
    done = run_command("serve.py", models["tagger"], "--host", "no.such.host.invalid")
    assert done.code == 2 and "cannot be listened to" in done.last["reason"]


def test_other_machines_are_warned_of(models):
    with serving(models["classifier"], "--host", "0.0.0.0") as service:
        assert "without a password or encryption" in "".join(service.said)
