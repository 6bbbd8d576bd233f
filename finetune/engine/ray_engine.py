"""The engine that works on a Ray cluster: how many processes a job gets there, and what they are told."""

from __future__ import annotations

import logging
import os
import pickle
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from finetune.engine.actor import Order
from finetune.engine.cluster import open_cluster
from finetune.engine.kept_results import KeptResults
from finetune.engine.pool import Pool, Size
from finetune.run.cache import VARIABLE as CACHE
from finetune.run.cache import cache_folder
from finetune.run.engines import Job, Needs
from finetune.run.manifest import library_versions

logger = logging.getLogger(__name__)

THREADS = "OMP_NUM_THREADS"
HANDED_ON = (  # variables that decide what is computed, or how files are reached; Ray shows none of them to anybody
    *("HF_", "HUGGING", "TRANSFORMERS_", "TOKENIZERS_", "TORCH", "ATEN_", "MKL_", "ONEDNN_", "OMP_", "FINETUNE_"),
    *("AWS_", "GOOGLE_", "AZURE_", "FSSPEC_", "http_proxy", "https_proxy", "no_proxy"),
)
KEPT_HERE = ("FINETUNE_LAUNCHED", "FINETUNE_ONLY_JUDGE_FLAGS")


class RayEngine:
    """Works on a cluster, which is joined or started when there is something to do."""

    def __init__(
        self, address: str, *, processes: int | None, addresses: Mapping[str, str], on_processor: bool
    ) -> None:
        self.address, self.processes, self.addresses = address, processes, addresses
        self.on_processor = on_processor
        self._open = ExitStack()
        self._ray: Any = None

    def close(self) -> None:
        """Leave the cluster; one of this run alone ends."""
        self._open.close()
        self._ray = None

    @property
    def ray(self) -> Any:
        if self._ray is None:
            self._ray = self._open.enter_context(open_cluster(self.address))
        return self._ray

    def count_cores(self) -> int:
        """Processors of the cluster."""
        return sum(cores for cores, _ in self._nodes())

    def _nodes(self) -> list[tuple[int, int]]:
        """Processors and GPUs of each node."""
        alive = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        return [(max(int(node.get("CPU", 0)), 1), int(node.get("GPU", 0))) for node in alive]

    def work_on(self, job: Job, needs: Needs) -> Iterator[Any]:
        """The results of all items in order, each once."""
        size = self._size_of(needs)
        kept = KeptResults(needs.kept, needs.key()) if needs.kept is not None and needs.key is not None else None
        if kept is not None and kept.found:
            logger.info("%d parts of this work are there already.", len(kept.found))
        logger.info("Processes on the Ray cluster: %d, threads of each: %d.", size.processes, size.cores)
        pool = Pool(self.ray, self._order(job, needs, size.cores), size)
        try:
            yield from pool.results(kept)
        finally:
            pool.close()

    def _size_of(self, needs: Needs) -> Size:
        nodes = self._nodes()
        if needs.one_core:
            return Size(max(min(needs.processes or self.count_cores(), self.count_cores()), 1), 1)
        gpus = 0 if self.on_processor or not needs.accelerated else sum(gpus for _, gpus in nodes)
        asked = needs.processes or self.processes or (gpus or len(nodes))
        smallest = min(cores for cores, _ in nodes)
        share = max(self.count_cores() // asked, 1)
        threads = int(os.environ[THREADS]) if os.environ.get(THREADS, "").isdecimal() else min(share, smallest)
        return Size(asked, max(min(threads, smallest), 1), 1 if gpus else 0)

    def _order(self, job: Job, needs: Needs, threads: int) -> Order:
        own = {name: value for name, value in os.environ.items() if name.startswith(HANDED_ON)}
        environment = {name: value for name, value in own.items() if name not in KEPT_HERE}
        if not needs.one_core:
            environment[THREADS] = os.environ.get(THREADS, str(threads))
        else:
            environment |= {THREADS: "1", "TOKENIZERS_PARALLELISM": "false"}
        return Order(
            job=pickle.dumps(job),
            environment=environment | {CACHE: str(cache_folder().absolute())},
            program=sys.argv[0],
            files=[Path(path).absolute() for path in needs.files],
            folder=str(Path.cwd()),
            addresses=dict(self.addresses),
            versions=library_versions(),
        )
