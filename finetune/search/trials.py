"""One trial of a search: suggested values -> a training -> its validation loss; and the model of the best trial, kept."""

from __future__ import annotations

import gc
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from optuna.exceptions import TrialPruned
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from finetune.data.array_files import read_npz
from finetune.errors import DataError, NonFiniteError
from finetune.lm_experiments.settings import ExperimentSettings
from finetune.lm_experiments.trainer import Validation
from finetune.lm_experiments.training import TrainingResult, save_trained_model, train_once
from finetune.run.checkpoints import mark_complete, why_broken
from finetune.run.folder import Run
from finetune.search.pruning import Losses, find_best
from finetune.search.slots import Slots
from finetune.search.space import Dimension, apply_values
from finetune.search.study import SamplerMaker
from finetune.search.turns import OWNER

logger = logging.getLogger(__name__)

SAID_ALREADY = (
    "finetune.data",
    "finetune.tokenization",
    "finetune.models",
    "finetune.training.building",
    "transformers",
)
REASON = "reason"  # attribute of a trial that was pruned because it could not go on
TEXT_LOSSES = "validation_losses.npz"


@dataclass
class TextLosses:
    """The losses of each validation text: of the trial that runs, and of the best one, which lie beside its model."""

    current: dict[int, np.ndarray] = field(default_factory=dict)
    _read: dict[int, Losses | None] = field(default_factory=dict)

    def see(self, validation: Validation) -> None:
        self.current[validation.epoch] = validation.example_losses

    def write(self, folder: Path) -> None:
        epochs = sorted(self.current)
        np.savez_compressed(folder / TEXT_LOSSES, epochs=epochs, losses=np.stack([self.current[e] for e in epochs]))

    def of_trial(self, trial: FrozenTrial) -> Losses | None:
        """The losses of a trial whose model is kept, by epoch; None where its folder cannot be read from here."""
        if trial.number not in self._read:
            self._read[trial.number] = _read_losses(find_folder(trial) / TEXT_LOSSES)
        return self._read[trial.number]


def _read_losses(path: Path) -> Losses | None:
    try:
        epochs, losses = read_npz(path, "epochs", "losses")
    except DataError:
        return None  # not there, or not whole: the trial is judged without
    is_whole = epochs.ndim == 1 and losses.ndim == 2 and len(epochs) == len(losses) and losses.dtype.kind == "f"
    return dict(zip(epochs.tolist(), losses, strict=True)) if is_whole else None


def find_folder(trial: FrozenTrial) -> Path:
    """Where the model of a trial lies while it is the best one."""
    return Path(trial.user_attrs.get(OWNER, {}).get("folder", "")) / name_folder(trial.number)


def name_folder(number: int) -> str:
    return f"trial-{number}"


@dataclass
class Trials:
    """Trains trials of a study in one process, and keeps the best model in its folder."""

    study: Study
    slots: Slots
    settings: ExperimentSettings
    dimensions: Sequence[Dimension]
    make_sampler: SamplerMaker
    losses: TextLosses
    run: Run
    folder: Path
    collects_garbage: bool = True

    def settings_of(self, values: Mapping[str, Any]) -> ExperimentSettings:
        """The settings of a training with these values."""
        texts, experiment = apply_values([self.settings.texts, self.settings.experiment], self.dimensions, values)
        return replace(self.settings, texts=texts, experiment=experiment)

    def values_of(self, trial: FrozenTrial) -> dict[str, Any]:
        """The values of a trial of the study."""
        return {item.name: item.value_of(trial.params[item.name]) for item in self.dimensions}

    def run_trial(self, trial: Trial) -> None:
        """Train one trial and tell the study how it ended.

        Raises:
            Preempted: a signal asked to stop; whoever goes on tries the trial's values again.
            Exception: what training raised, where it is not for the values alone; the trial is failed.
        """
        self.study.sampler = self.make_sampler(trial.number)
        values = {item.name: item.suggest(trial) for item in self.dimensions}
        logger.info("Trial %d: %s.", trial.number, describe_values(values))
        self.losses.current.clear()
        try:
            with self.slots.held(trial), quiet(SAID_ALREADY):
                self._end(trial, self._train(trial, self.settings_of(values)))
        finally:
            self._clean_up()

    def _train(self, trial: Trial, settings: ExperimentSettings) -> TrainingResult | None:
        """None for a trial that was pruned, or whose values do not let it go on; the reason is its attribute."""
        reason = ""
        try:
            result = train_once(
                settings,
                self.run,
                self.folder,
                watch=lambda seen: self._watch(trial, seen),
                on_disk=False,
                tables=False,
            )
            if np.isfinite(result.best.loss):
                return result
            reason = f"the validation loss became {result.best.loss}"
        except TrialPruned:
            return None
        except (NonFiniteError, torch.OutOfMemoryError) as error:
            reason = str(error).splitlines()[0]
        logger.warning("Trial %d cannot go on and is pruned: %s", trial.number, reason)
        trial.set_user_attr(REASON, reason)
        return None

    def _watch(self, trial: Trial, seen: Validation) -> bool:
        self.losses.see(seen)
        trial.report(seen.loss, seen.epoch)
        if trial.should_prune():
            raise TrialPruned
        return False

    def _end(self, trial: Trial, result: TrainingResult | None) -> None:
        if result is None:
            self.study.tell(trial, state=TrialState.PRUNED)
            logger.info("Trial %d: pruned after %d epochs.", trial.number, len(self.losses.current))
            return
        trial.set_user_attr("best_epoch", result.best.epoch)
        if self._is_best(trial.number, result.best.loss):
            self._keep(trial.number, result)
        self.study.tell(trial, result.best.loss)
        logger.info("Trial %d: validation loss %.6g, epoch %d.", trial.number, result.best.loss, result.best.epoch)

    def _is_best(self, number: int, loss: float) -> bool:
        best = find_best(self.study)
        return best is None or (loss, number) < (best.value, best.number)

    def _keep(self, number: int, result: TrainingResult) -> None:
        """Whole and on disk before the study knows of it; the one before it goes only then."""
        folder = self.folder / name_folder(number)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        save_trained_model(result, folder)
        self.losses.write(folder)
        mark_complete(folder)

    def _clean_up(self) -> None:
        self.drop_models()
        if self.collects_garbage:
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def drop_models(self) -> None:
        """Remove the models of this folder that are not of the best trial: overtaken ones, and those of killed trials."""
        best = find_best(self.study)
        for folder in self.folder.glob("trial-*"):
            if best is None or folder.resolve() != find_folder(best).resolve() or why_broken(folder):
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def quiet(names: Iterable[str]) -> Iterator[None]:
    """Only errors of these loggers: what there is to say of texts and models was said when they were judged."""
    found = [logging.getLogger(name) for name in names]
    before = [each.level for each in found]
    for each in found:
        each.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for each, level in zip(found, before, strict=True):
            each.setLevel(level)


def describe_values(values: Mapping[str, Any]) -> str:
    """`lr 1.3e-05, train_KLBaselineLoss_scaleby 2.5`."""
    return ", ".join(
        f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items()
    )
