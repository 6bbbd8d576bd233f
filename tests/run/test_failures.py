from __future__ import annotations

from pickle import UnpicklingError

import pytest

from finetune.run.failures import explain


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


class SafetensorError(Exception):
    pass


class HfConnectionError(Exception):
    __module__ = "huggingface_hub.errors"


HfConnectionError.__name__ = "LocalEntryNotFoundError"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MemoryError(), "the machine ran out of memory; lower --per_device_train_batch_size"),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "the accelerator ran out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "the machine ran out of memory"),
        (OSError(28, "No space left on device", "out/model.safetensors"), "the disk is full (out/model.safetensors)"),
        (OSError(122, "Disk quota exceeded"), "the disk is full"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "the disk is full"),
        (
            ImportError("You need to install `galore` to use it."),
            "an option needs a package that is not installed: You",
        ),
        (OSError(27, "File too large"), "a file may not grow that large here"),
        (SafetensorError("I/O error: File too large (os error 27)"), "a file may not grow that large here"),
        (
            UnpicklingError("Weights only load failed. In PyTorch 2.6"),
            "a file of the model or checkpoint holds objects",
        ),
        (ConnectionRefusedError(111, "Connection refused"), "the network could not be reached"),
        (HfConnectionError("offline"), "the network could not be reached (offline)"),
        (BrokenPipeError(32, "Broken pipe"), "the program that reads standard output has closed it"),
        (PermissionError(13, "Permission denied", "/root/x"), "no permission: /root/x"),
    ],
)
def test_failures_of_the_machine_are_sentences(error, sentence):
    assert explain(error).startswith(sentence)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("memory"),
        KeyError("x"),
        RuntimeError("shape"),
        OSError(2, "No such file"),
        ModuleNotFoundError("No module"),
    ],
)
def test_everything_else_is_a_bug(error):
    assert explain(error) is None


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (RuntimeError("[enforce fail at inline_container.cc:626] . unexpected pos 704 vs 598"), "the disk is full"),
        (RuntimeError("PytorchStreamWriter failed writing file data/1: file write failed"), "the disk is full"),
        (RuntimeError("basic_ios::clear: iostream error"), "the disk is full"),
        (
            RuntimeError("unable to write to file </torch_1_2_3>: No space left on device (28) /dev/shm"),
            "shared memory",
        ),
        (OSError(24, "Too many open files", "x"), "too many files are open"),
        (OSError(5, "Input/output error"), "the disk failed: input/output error"),
        (OSError(5, "Input/output error", "x"), "the disk failed (x)"),
        (SafetensorError("I/O error: Input/output error (os error 5)"), "the disk failed: input/output error"),
        (OSError(30, "Read-only file system", "/ro/x"), "the disk is read-only: /ro/x"),
    ],
)
def test_faults_of_the_machine_are_no_bugs(error, says):
    assert says in (explain(error) or "")
