"""How much each hyperparameter mattered to the loss, by Optuna's evaluators."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

from optuna.importance import (
    BaseImportanceEvaluator,
    FanovaImportanceEvaluator,
    PedAnovaImportanceEvaluator,
    get_param_importances,
)
from optuna.study import Study
from optuna.trial import TrialState

from finetune.run.manifest import write_json_atomically

logger = logging.getLogger(__name__)

IMPORTANCES = "optimization_importances.json"
FEWEST = 4  # complete trials; fewer tell nothing


def write_importances(path: Path, study: Study, *, seed: int) -> Path:
    """Write shares that sum to 1, by evaluator and hyperparameter; an evaluator that finds nothing is left out, and said.

    fANOVA (Hutter, Hoos and Leyton-Brown 2014): the share of the loss's variance over the whole space, by a random forest;
    only of hyperparameters that all complete trials have. PED-ANOVA (Watanabe, Bansal and Hutter 2023): what sets the
    best tenth of the trials apart.
    """
    evaluators = {"fanova": FanovaImportanceEvaluator(seed=seed), "ped_anova": _ped_anova()}
    found = {name: _weigh(study, name, evaluator) for name, evaluator in evaluators.items()}
    write_json_atomically(path, {name: shares for name, shares in found.items() if shares})
    return path


def _ped_anova() -> PedAnovaImportanceEvaluator:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is experimental
        return PedAnovaImportanceEvaluator()


def _weigh(study: Study, name: str, evaluator: BaseImportanceEvaluator) -> dict[str, float]:
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < FEWEST:
        logger.info("Importances are not computed: %d complete trials, %d are needed.", len(complete), FEWEST)
        return {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # "importances will be equal" is no finding
            shares = get_param_importances(study, evaluator=evaluator)
    except (ValueError, RuntimeError, UserWarning) as error:
        logger.info("Importances by %s are left out: %s", name, error)
        return {}
    return {hyperparameter: float(share) for hyperparameter, share in shares.items()}
