"""Two steps of adapt_then_classify.sh: sentences of aspect sentiment files as a corpus, and the table at the end.

python examples/adaptation_steps.py corpus mams/train.xml.gz --held_out mams/val.xml.gz mams/test.xml.gz > corpus.txt
python examples/adaptation_steps.py table outputs/adapt/plain-* --adapted outputs/adapt/adapted-*
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

SCORES = {"accuracy": "accuracy", "f1_macro": "macro F1"}


def write_corpus(training: Path, held_out: Sequence[Path], sentences_per_document: int) -> None:
    """Print the distinct sentences of a training file, an empty line behind every few; none that is held out."""
    from finetune.classification.published.semeval import read_semeval

    unwanted = {clean(sentence.text) for path in held_out for sentence in read_semeval(path)}
    texts = list(dict.fromkeys(clean(sentence.text) for sentence in read_semeval(training)))
    kept = [text for text in texts if text not in unwanted]
    for start in range(0, len(kept), sentences_per_document):
        print("\n".join(kept[start : start + sentences_per_document]) + "\n")
    print(f"{len(kept):,} sentences; {len(texts) - len(kept):,} that are also held out were left out.", file=sys.stderr)


def clean(text: str) -> str:
    return " ".join(text.split())


def show_table(plain: Sequence[Path], adapted: Sequence[Path]) -> None:
    """Print test scores of both classifiers, by seed and on average, and what can be said of their difference."""
    sides = {"as it came": [read_scores(folder) for folder in plain]}
    sides["adapted first"] = [read_scores(folder) for folder in adapted]
    print(f"| classifier | {' | '.join(SCORES.values())} |\n|---|{'---|' * len(SCORES)}")
    for name, runs in sides.items():
        print(f"| {name} | " + " | ".join(show([run[score] for run in runs]) for score in SCORES) + " |")
    print(f"\n{judge(*([run['f1_macro'] for run in runs] for runs in sides.values()))}")


def read_scores(folder: Path) -> dict[str, float]:
    scores = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["test"]
    return {name: scores[name] for name in SCORES}


def show(values: Sequence[float]) -> str:
    each = f" ({', '.join(f'{value:.4f}' for value in values)})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{each}"


def judge(plain: Sequence[float], adapted: Sequence[float]) -> str:
    """A difference counts if it is larger than what the seed alone does to either classifier."""
    difference = statistics.mean(adapted) - statistics.mean(plain)
    if len(plain) < 2:
        return f"Macro F1 {difference:+.4f} with adaptation; one seed does not tell whether that is chance."
    spread = max(max(side) - min(side) for side in (plain, adapted))
    verdict = "better" if difference > spread else "worse" if difference < -spread else "no different"
    return (
        f"With adaptation the classifier is {verdict}: macro F1 {difference:+.4f}, and seeds alone move it by up to "
        f"{spread:.4f}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    corpus = steps.add_parser("corpus")
    corpus.add_argument("training", type=Path)
    corpus.add_argument("--held_out", type=Path, nargs="*", default=[])
    corpus.add_argument("--sentences_per_document", type=int, default=1)
    table = steps.add_parser("table")
    table.add_argument("plain", type=Path, nargs="+")
    table.add_argument("--adapted", type=Path, nargs="+", required=True)
    options = parser.parse_args()
    if options.step == "corpus":
        write_corpus(options.training, options.held_out, options.sentences_per_document)
    else:
        show_table(options.plain, options.adapted)


if __name__ == "__main__":
    main()
