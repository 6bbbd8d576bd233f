"""`finetune doctor` through its command line: a whole machine, and machines with something missing."""

import torch


def lines_of(done):
    """Item -> verdict and text."""
    rows = [line for line in done.stdout.splitlines() if line.startswith(("ok ", "note ", "wrong "))]
    return {line[7:21].strip(): (line[:5].strip(), line[23:]) for line in rows}


def test_a_whole_machine(call_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = call_command("doctor.py", HF_HUB_OFFLINE="1", FINETUNE_NATIVE="0")
    found = lines_of(done)
    assert done.code == 0, done.stdout + done.stderr
    assert found["torch"] == ("ok", torch.__version__)
    assert found["hub"][0] == "note" and "HF_HUB_OFFLINE=1" in found["hub"][1]
    assert found["native kernels"][0] == "note" and "FINETUNE_NATIVE" in found["native kernels"][1]
    assert found["self-test"][0] == "ok" and "16 of 16 words right" in found["self-test"][1]
    assert str(tmp_path) in found["this folder"][1]
    assert done.last["status"] == "done" and done.last["wrong"] == 0
    assert done.last["ok"] + done.last["note"] == len(found)
    assert not list(tmp_path.iterdir())


def test_a_hub_that_is_not_there_is_a_note(call_command):
    offline = {"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "0", "HF_DATASETS_OFFLINE": "0"}
    address = "http://someone:hidden@127.0.0.1:9"
    done = call_command("doctor.py", HF_ENDPOINT=address, FINETUNE_NATIVE="0", **offline)
    assert done.code == 0
    verdict, text = lines_of(done)["hub"]
    assert verdict == "note" and "cannot be reached" in text and "hidden" not in done.stdout


def test_what_is_needed_and_broken_is_exit_code_1_and_the_rest_is_told(call_command, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: None)  # a torch that does not learn
    done = call_command("doctor.py", FINETUNE_CACHE_DIR=str(tmp_path / "file" / "cache"), FINETUNE_NATIVE="0")
    found = lines_of(done)
    assert done.code == 1 and done.last["status"] == "failed"
    assert found["cache folder"][0] == found["self-test"][0] == "wrong"
    assert "cache folder, self-test" in done.last["reason"]
    assert found["torch"][0] == "ok"


def test_a_library_that_does_not_load_leaves_the_other_items_their_lines(run_command, tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('libtorch_cpu.so: cannot open shared object file')\n")
    done = run_command("doctor.py", PYTHONPATH=str(tmp_path), HF_HUB_OFFLINE="1")
    found = lines_of(done)
    assert done.code == 1 and done.last["status"] == "failed"
    for item in ("processor", "devices", "kernels", "training"):
        assert found[item][0] == "wrong" and "libtorch_cpu.so" in found[item][1], found
    assert found["python"][0] == "ok" and found["hub"][0] == "note" and "this folder" in found
