"""Which engine a command was asked to work by; Ray's is imported only where it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from finetune.arguments.engine import AUTO, RAY, EngineArguments
from finetune.arguments.parser import Arguments
from finetune.arguments.processes import ProcessArguments
from finetune.errors import Problem, UsageError
from finetune.run.engines import working_by
from finetune.run.launcher import is_launched

SHARED_OUT = "why_one_process"  # what a group has whose command can share all of its work out


@contextmanager
def working_as_asked(arguments: Arguments, why_here: str | None, *, on_processor: bool) -> Iterator[None]:
    """Inside, work is done by the engine that the user named; `why_here` is what keeps it in this process, in words.

    Raises:
        UsageError: Ray is asked for, and is not installed, or has nothing to share out.
    """
    asked = arguments.find(EngineArguments)
    if asked is None or asked.engine != RAY:
        yield
        return
    require_engine(why_here, shares_all=any(hasattr(group, SHARED_OUT) for group in arguments.groups.values()))
    processes = arguments.find(ProcessArguments)
    from finetune.engine.ray_engine import RayEngine

    engine = RayEngine(
        asked.ray_address or AUTO,
        processes=processes.nproc if processes else None,
        addresses=arguments.addresses,
        on_processor=on_processor,
    )
    try:
        with working_by(engine):
            yield
    finally:
        engine.close()


def require_engine(why_here: str | None, *, shares_all: bool) -> None:
    """Raises:
    UsageError: as `working_as_asked`.
    """
    from finetune.engine.cluster import require_ray

    require_ray()
    if shares_all and is_launched():
        found = "--engine ray: a launcher has started this process"
        raise UsageError(Problem(found, remedy="start the command itself, which is one process; Ray starts the others"))
    if why_here is not None:
        raise UsageError(Problem(f"--engine ray: {why_here}", remedy="drop it"))
