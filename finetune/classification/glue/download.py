"""GLUE's published archives -> folders in the official layout, checked row by row.

The addresses of the first download script have been dead for years; these are the ones that the benchmark's authors
publish since. MRPC comes from its own publisher, as one file for train and dev, which a list of ids cuts in two.
"""

from __future__ import annotations

import io
import logging
import urllib.request
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from finetune.classification.glue.tasks import TASKS, GlueTask, find_task
from finetune.data.archives import open_archive
from finetune.data.files import read_text
from finetune.errors import DataError, Problem, ProblemList, RunError, UsageError
from finetune.run.atomic_files import AtomicFile, atomic_text_file

logger = logging.getLogger(__name__)

BASE = "https://dl.fbaipublicfiles.com/glue/data"
MRPC_BASE = "https://dl.fbaipublicfiles.com/senteval/senteval_data"
ARCHIVES = {
    "cola": "CoLA.zip",
    "sst2": "SST-2.zip",
    "qqp": "QQP-clean.zip",
    "stsb": "STS-B.zip",
    "mnli": "MNLI.zip",
    "qnli": "QNLIv2.zip",
    "rte": "RTE.zip",
    "wnli": "WNLI.zip",
}
DIAGNOSTICS = f"{BASE}/AX.tsv"
MRPC_FILES = ("msr_paraphrase_train.txt", "msr_paraphrase_test.txt")
MRPC_DEV_IDS = f"{BASE}/mrpc_dev_ids.tsv"
MRPC_HEADER = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"
MRPC_TEST_HEADER = "index\t#1 ID\t#2 ID\t#1 String\t#2 String"
TIMEOUT_SECONDS = 60
SNLI = "snli"  # the first download script fetched it beside GLUE


@dataclass(frozen=True)
class Missing:
    """A task that could not be fetched, and why."""

    task: GlueTask
    address: str
    reason: str

    def advice(self, data_dir: Path) -> str:
        names = ", ".join(f"{stems[0]}.tsv" for stems in self.task.stems.values())
        return (
            f"{self.task.folder}: {self.address} failed ({self.reason}); place {names} (or .tsv.gz) in "
            f"{data_dir / self.task.folder}, for example from https://gluebenchmark.com/tasks"
        )


def choose_tasks(names: str) -> list[GlueTask]:
    """The tasks of `--tasks`: `all`, or names separated by commas, old ones too.

    Raises:
        UsageError: names that no task has.
    """
    distinct = [task for task in TASKS if task.name != "mnli-mm"]  # its files come with MNLI's
    if names.strip().lower() == "all":
        return distinct
    problems = ProblemList()
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if SNLI in (name.lower() for name in wanted):
        logger.warning("SNLI is no GLUE task and is left out; it lies at https://nlp.stanford.edu/projects/snli.")
    found = [problems.attempt(find_task, name) for name in wanted if name.lower() != SNLI]
    problems.raise_any(UsageError)
    return list({task.name: task for task in found if task is not None}.values())


def download_task(task: GlueTask, data_dir: Path, mrpc_folder: Path | None = None) -> None:
    """Fetch one task into its folder below `data_dir`.

    Raises:
        OSError: an address cannot be reached.
        DataError: what came is no archive, or MRPC's files are not those expected.
    """
    if task.name == "mrpc":
        write_mrpc(data_dir / task.folder, *_mrpc_texts(mrpc_folder), fetch(MRPC_DEV_IDS).decode("utf-8-sig"))
    elif task.name == "ax":
        content = fetch(DIAGNOSTICS)
        with AtomicFile(data_dir / task.folder / "AX.tsv") as file:
            file.stream.write(content)
    else:
        address = f"{BASE}/{ARCHIVES[task.name]}"
        unpack(fetch(address), address, data_dir / task.folder)


def address_of(task: GlueTask) -> str:
    special = {"mrpc": f"{MRPC_BASE}/{MRPC_FILES[0]}", "ax": DIAGNOSTICS}
    return special.get(task.name) or f"{BASE}/{ARCHIVES[task.name]}"


def download_tasks(tasks: list[GlueTask], data_dir: Path, mrpc_folder: Path | None = None) -> None:
    """Fetch all tasks; those that fail do not keep the others back.

    Raises:
        RunError: some could not be fetched; says for each what to place where.
    """
    missing = []
    for task in tasks:
        logger.info("Fetching GLUE %s from %s.", task.folder, address_of(task))
        try:
            download_task(task, data_dir, mrpc_folder)
        except (OSError, DataError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            missing.append(Missing(task, address_of(task), reason))
    if missing:
        raise RunError("; ".join(entry.advice(data_dir) for entry in missing) + ".")


def fetch(address: str) -> bytes:
    """What lies at an address.

    Raises:
        OSError: it cannot be reached.
    """
    with urllib.request.urlopen(address, timeout=TIMEOUT_SECONDS) as reply:
        return reply.read()


def unpack(data: bytes, address: str, folder: Path) -> None:
    """The `.tsv` files of a task's archive, without the folders that it keeps them in.

    Raises:
        DataError: it is no archive, a damaged one, or holds none.
    """
    with open_archive(io.BytesIO(data), address) as archive:
        members = [name for name in archive.members if _is_table(name)]
        if not members:
            raise DataError(Problem(f"the archive at {address} holds no .tsv file"))
        for name in members:
            content = archive.read(name)
            with AtomicFile(folder / PurePosixPath(name).name) as target:
                target.stream.write(content)


def _is_table(name: str) -> bool:
    """The task's own files; archives also hold the original corpora in a folder of their own."""
    path = PurePosixPath(name)
    return path.suffix == ".tsv" and "original" not in path.parts


def _mrpc_texts(folder: Path | None) -> tuple[str, str]:
    """Train and test as published, from the user's folder or its address."""
    if folder is not None:
        train, test = (read_text(folder / name) for name in MRPC_FILES)
    else:
        train, test = (fetch(f"{MRPC_BASE}/{name}").decode("utf-8-sig") for name in MRPC_FILES)
    return train, test


def write_mrpc(folder: Path, train: str, test: str, dev_ids: str) -> None:
    """Write train.tsv, dev.tsv and test.tsv; the pairs whose ids are listed make dev, and test loses its labels.

    Raises:
        DataError: the lines have another number of fields.
    """
    chosen = {tuple(line.split("\t")[:2]) for line in _lines(dev_ids)}
    pairs = [_mrpc_fields(line, MRPC_FILES[0], number) for number, line in enumerate(_lines(train), start=1)][1:]
    tests = [_mrpc_fields(line, MRPC_FILES[1], number) for number, line in enumerate(_lines(test), start=1)][1:]
    tables = {
        "train": (MRPC_HEADER, [fields for fields in pairs if (fields[1], fields[2]) not in chosen]),
        "dev": (MRPC_HEADER, [fields for fields in pairs if (fields[1], fields[2]) in chosen]),
        "test": (MRPC_TEST_HEADER, [[str(index), *fields[1:]] for index, fields in enumerate(tests)]),
    }
    for name, (header, rows) in tables.items():
        with atomic_text_file(folder / f"{name}.tsv") as file:
            file.writelines("\t".join(fields) + "\n" for fields in [[header], *rows])


def _lines(text: str) -> list[str]:
    return [line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n") if line.strip()]


def _mrpc_fields(line: str, name: str, number: int) -> list[str]:
    fields = line.split("\t")
    if len(fields) != 5:
        raise DataError(Problem(f"the row has {len(fields)} fields", "5 are expected", path=name, line=number))
    return fields
