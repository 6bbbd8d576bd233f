"""--push_to_hub through whole commands, on a hub of our own that speaks the protocol of the real one."""

from __future__ import annotations

import base64
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

SCRIPT = Path(__file__).parents[2] / "scripts" / "run_glue.py"
TOKEN = "hf_token-of-nobody"


class Hub(http.server.BaseHTTPRequestHandler):
    """Repositories of models in memory; commits come as the lines that the hub's own client writes."""

    repositories: dict[str, dict[str, bytes]]
    requests: list[tuple[str, str]]
    refuses = False

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.requests.append((self.path, self.headers.get("Authorization", "")))
        if self.refuses:
            self.answer({"error": "no room"}, 507)
        elif self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            self.repositories.setdefault(name, {})
            self.answer({"url": f"{self.address}/{name}", "private": asked.get("private")})
        elif self.path == "/api/validate-yaml":
            card = json.loads(body)["content"]
            assert yaml.safe_load(card.split("---\n")[1])
            self.answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = [{**file, "uploadMode": "regular", "shouldIgnore": False} for file in json.loads(body)["files"]]
            self.answer({"files": files})
        elif "/commit/" in self.path:
            name = "/".join(self.path.split("/")[3:5])
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.repositories[name][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.answer({"commitUrl": f"{self.address}/{name}/commit/0", "commitOid": "0" * 40, "success": True})
        else:
            self.answer({}, 404)

    def do_GET(self) -> None:
        self.answer({"error": "Entry not found"}, 404)

    do_HEAD = do_GET

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, value: object, code: int = 200) -> None:
        text = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[type[Hub]]:
    kind = type("OwnHub", (Hub,), {"repositories": {}, "requests": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        kind.port = server.server_port
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield kind
        server.shutdown()


@pytest.fixture
def train(tmp_path, tiny_bert, hub):
    kinds = (("fine", "good"), ("poor", "bad"))
    rows = [{"text": f"a {word} film, no. {n}", "label": label} for word, label in kinds for n in range(8)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def run(*words: str) -> tuple[int, dict]:
        environment = {**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{hub.port}", "HF_HUB_OFFLINE": "0"}
        command = [
            *(sys.executable, str(SCRIPT), "--model_name_or_path", str(tiny_bert), "--train_file", "train.jsonl"),
            *("--output_dir", "sentiment", "--max_steps", "1", "--do_train", "--do_eval", *words),
        ]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert TOKEN not in done.stdout + done.stderr
        return done.returncode, json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.mark.slow
def test_a_finished_run_is_pushed_once_with_its_card(train, hub, tmp_path):
    push = ("--push_to_hub", "--hub_model_id", "us/sentiment", "--hub_token", TOKEN, "--hub_private_repo")
    code, last = train(*push)
    assert code == 0 and last["hub"].endswith("/us/sentiment"), last.get("reason")
    files = hub.repositories["us/sentiment"]
    assert {"README.md", "model.safetensors", "config.json", "tokenizer.json", "run.json"} <= set(files)
    assert not any(name.startswith(("checkpoint-", ".")) or name == "training_args.bin" for name in files)
    assert files["README.md"].startswith(b"---\n") and b"sentiment" in files["README.md"]
    assert TOKEN.encode() not in b"".join(files.values())
    assert {token for _, token in hub.requests} == {f"Bearer {TOKEN}"}
    written = [path for path in (tmp_path / "sentiment").rglob("*") if path.is_file()]
    assert not any(TOKEN.encode() in path.read_bytes() for path in written)
    before = len(hub.requests)
    code, last = train(*push)
    assert code == 0 and last["status"] == "already_done" and len(hub.requests) == before


@pytest.mark.slow
def test_what_the_hub_refuses_is_pushed_by_the_next_start(train, hub):
    hub.refuses = True
    code, last = train("--push_to_hub", "--hub_token", TOKEN)
    assert code == 1 and "run the same command again to push it" in last["reason"], last
    hub.refuses = False
    code, last = train("--push_to_hub", "--hub_token", TOKEN)
    assert code == 0 and last["status"] == "already_done" and "model.safetensors" in hub.repositories["me/sentiment"]
