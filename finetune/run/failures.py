"""What an exception that nobody raised on purpose means to a user: the machine, the network, a closed pipe, or a bug."""

from __future__ import annotations

import errno

# What prediction with an exported model does without, until an option or a file needs it.
OPTIONAL = ("datasets", "pyarrow", "pythainlp", "regex", "scipy", "sklearn", "transformers", "torch")
NETWORK_PACKAGES = ("requests", "httpx", "urllib3", "huggingface_hub", "aiohttp")
NETWORK_NAMES = ("ConnectionError", "ConnectError", "Timeout", "Offline", "LocalEntryNotFound", "MaxRetry", "HTTPError")
LOST_CONNECTION = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out waiting")
PROCESS_ENDED = "of this training has ended"  # what the gradients' own way between processes says of it
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
OF_THE_MACHINE = (*FULL_DISK, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # no fault of what the user typed
# safetensors and torch.save wrap a full disk in exceptions of their own; torch's zip writer finds itself elsewhere.
WRAPPED = (
    "No space left on device",
    "StorageFull",
    "Disk quota exceeded",
    "unexpected pos ",
    "PytorchStreamWriter failed",
    "basic_ios::clear: iostream error",
)


def explain(error: BaseException) -> str | None:
    """A sentence for a failure of the machine; None for what must be a bug of ours."""
    for explanation in (
        _out_of_memory,
        _small_shared_memory,
        _full_disk,
        _failing_disk,
        _too_many_files,
        _read_only,
        _file_limit,
        _lost_process,
        _no_network,
        _closed_pipe,
        _no_permission,
        _unsafe_file,
        _missing_package,
        _panic,
    ):
        if sentence := explanation(error):
            return sentence
    return None


def is_of_its_files(error: Exception) -> bool:
    """Whether what a library raises while it loads a user's folder is about what the folder holds, whatever its type."""
    return isinstance(error, OSError | ValueError | KeyError | TypeError) or explain(error) is None


def is_out_of_memory(error: BaseException) -> bool:
    """torch.OutOfMemoryError, recognised by name, because torch may not be imported at all; or the machine's own."""
    text = str(error).casefold()
    says_so = isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
    return says_so or isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def is_panic(error: BaseException) -> bool:
    """Whether a library in Rust gave up: on a file that contradicts itself, mostly. It is no Exception."""
    return type(error).__name__ == "PanicException"


def _out_of_memory(error: BaseException) -> str | None:
    if not is_out_of_memory(error):
        return None
    text = str(error).casefold()
    where = "the accelerator ran" if "cuda" in text or "mps" in text else "the machine ran"
    return (
        f"{where} out of memory; lower --per_device_train_batch_size (and raise --gradient_accumulation_steps by the "
        "same factor), lower --max_length, or add --activation_checkpointing"
    )


def _small_shared_memory(error: BaseException) -> str | None:
    """/dev/shm of a container has 64 MiB: what data loader processes hand over does not fit."""
    text = str(error)
    if "/dev/shm" not in text and "shared memory" not in text and "torch_shm" not in text:
        return None
    return "the shared memory (/dev/shm) is too small for data loader workers; enlarge it or add --dataloader_num_workers 0"


def _too_many_files(error: BaseException) -> str | None:
    limited = isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)
    if not limited and "Too many open files" not in str(error):
        return None
    return "too many files are open; raise the limit (ulimit -n 1024) and run the same command again"


def _read_only(error: BaseException) -> str | None:
    if not isinstance(error, OSError) or error.errno != errno.EROFS:
        return None
    return f"the disk is read-only: {error.filename or 'the output'}; choose another place for the output"


def _full_disk(error: BaseException) -> str | None:
    full = isinstance(error, OSError) and error.errno in FULL_DISK
    wrapped = any(text in str(error) for text in WRAPPED) and not isinstance(error, UnicodeError)
    if not full and not wrapped:
        return None
    where = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
    return f"the disk is full{where}; make room and run the same command again, it goes on from the last checkpoint"


def _failing_disk(error: BaseException) -> str | None:
    failing = isinstance(error, OSError) and error.errno == errno.EIO
    if not failing and "os error 5)" not in str(error):
        return None
    where = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
    return f"the disk failed{where}: input/output error; see to it and run the same command again, it goes on"


def _file_limit(error: BaseException) -> str | None:
    """`ulimit -f`, or a file system without large files."""
    limited = isinstance(error, OSError) and error.errno == errno.EFBIG
    if not limited and "File too large" not in str(error):
        return None
    return "a file may not grow that large here; raise the limit (ulimit -f) or choose another --output_dir"


def _lost_process(error: BaseException) -> str | None:
    """Gloo and NCCL tell that another process of the same training is gone by errors of the connection to it."""
    text = str(error)
    of_backend = type(error).__name__ in ("DistBackendError", "DistNetworkError", "DistStoreError")
    of_gloo = isinstance(error, RuntimeError) and "gloo" in text and any(word in text for word in LOST_CONNECTION)
    of_ours = isinstance(error, RuntimeError) and PROCESS_ENDED in text
    if not of_backend and not of_gloo and not of_ours:
        return None
    return (
        f"another process of this training was lost ({first_line(error)}); "
        "run the same command again, it goes on from the last checkpoint"
    )


def _no_network(error: BaseException) -> str | None:
    package = type(error).__module__.split(".")[0]
    theirs = package in NETWORK_PACKAGES and any(name in type(error).__name__ for name in NETWORK_NAMES)
    if not theirs and not (isinstance(error, ConnectionError) and not isinstance(error, BrokenPipeError)):
        return None
    return f"the network could not be reached ({first_line(error)}); give local files and folders instead of hub names"


def _closed_pipe(error: BaseException) -> str | None:
    return "the program that reads standard output has closed it" if isinstance(error, BrokenPipeError) else None


def _no_permission(error: BaseException) -> str | None:
    if not isinstance(error, PermissionError):
        return None
    return f"no permission: {error.filename or first_line(error)}; change its rights or choose another place"


def _unsafe_file(error: BaseException) -> str | None:
    """torch.load refuses whatever is more than tensors and plain values."""
    if type(error).__name__ != "UnpicklingError" or "Weights only load failed" not in str(error):
        return None
    return (
        "a file of the model or checkpoint holds objects beside numbers; it is not loaded, because that could run code"
    )


def _missing_package(error: BaseException) -> str | None:
    """What libraries say of packages that only some of their options need; an import of ours that fails is a bug."""
    if isinstance(error, ModuleNotFoundError) and (package := (error.name or "").partition(".")[0]) in OPTIONAL:
        return f"the package {package} is needed for this and not installed (pip install {package})"
    asked = isinstance(error, ImportError) and not isinstance(error, ModuleNotFoundError) and "install" in str(error)
    return f"an option needs a package that is not installed: {first_line(error).rstrip('.')}" if asked else None


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or what it is called where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _panic(error: BaseException) -> str | None:
    if not is_panic(error):
        return None
    return f"a library in Rust gave up ({first_line(error)}): a file of the tokenizer or of the model is damaged"
