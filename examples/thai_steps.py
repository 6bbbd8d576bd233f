"""Three steps of thai_from_scratch.sh: raw Thai text as files, a model without pretraining, and the check at the end.

python examples/thai_steps.py texts ../shared/data outputs/thai/text
python examples/thai_steps.py untrained outputs/thai/language-model outputs/thai/untrained-1 --seed 1
python examples/thai_steps.py check outputs/thai/plain-* --pretrained outputs/thai/pretrained-* --margin 0.05
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

ARCHIVES = {  # file of raw text -> archive, member and field of its documents
    "wikipedia": ("lm/iapp_thai_wiki_qa.zip", "data/train.jsonl", "context"),
    "tweets": ("wisesight_sentiment/data.zip", "data/train.jsonl", "texts"),
}
HELD_OUT = ("validation", "test")
TOKENIZER_FILES = ("*tokenizer*", "newmm.json", "syllable.json", "sentencepiece.bpe.model")


def write_texts(data: Path, output: Path) -> None:
    """Write Wikipedia, tweets and ThaiNER's training sentences, a document and an empty line each; nothing held out.

    A line that ThaiNER's validation or test split has, too, is left out, wherever it was found and however it is spaced.
    """
    sentences = read_thainer(data / "thainer")
    unwanted = {squeeze(text) for split in HELD_OUT for text in sentences[split]}
    documents = {name: read_archive(data / archive, *place) for name, (archive, *place) in ARCHIVES.items()}
    output.mkdir(parents=True, exist_ok=True)
    for name, texts in {**documents, "thainer": sentences["train"]}.items():
        lines, left_out = keep_lines(texts, unwanted)
        (output / f"{name}.txt").write_text("\n".join(lines), encoding="utf-8")
        print(f"{name}: {len(texts):,} documents; lines left out because ThaiNER holds them out: {left_out}.")


def keep_lines(texts: Iterable[str], unwanted: set[str]) -> tuple[list[str], int]:
    """The lines of all texts, an empty one behind each text, without the unwanted; and the number of those."""
    lines, left_out = [], 0
    for text in texts:
        stripped = [line.strip() for line in text.split("\n") if line.strip()]
        kept = [line for line in stripped if squeeze(line) not in unwanted]
        left_out += len(stripped) - len(kept)
        lines += [*kept, ""] if kept else []
    return lines, left_out


def squeeze(text: str) -> str:
    return "".join(text.split())


def read_archive(path: Path, member: str, field: str) -> list[str]:
    """The distinct values of a field in JSON lines within a zip archive."""
    if not path.is_file():
        sys.exit(f"error: there is no {path}; put it there, or name the folder of the data by DATA_DIR")
    with zipfile.ZipFile(path) as archive:
        rows = archive.read(member).decode("utf-8").split("\n")
    return list(dict.fromkeys(json.loads(row)[field] for row in rows if row))


def read_thainer(folder: Path) -> dict[str, list[str]]:
    """The sentences of each split of ThaiNER as raw text."""
    from finetune.tagging.arguments import TaggingDataArguments
    from finetune.tagging.corpus import load_tagging_corpus

    arguments = TaggingDataArguments(dataset_name="thainer", label_name="ner_tags", data_dir=str(folder))
    splits = load_tagging_corpus(arguments, seed=0).splits
    return {split: ["".join(words) for words in rows["words"]] for split, rows in splits.items()}


def write_untrained(model: Path, output: Path, seed: int) -> None:
    """The configuration and the tokenizer of a model, with weights drawn anew."""
    from transformers import AutoConfig, AutoModelForMaskedLM, set_seed

    set_seed(seed)
    aside = output.with_name(f"{output.name}.partial")
    AutoModelForMaskedLM.from_config(AutoConfig.from_pretrained(model)).save_pretrained(aside)
    for path in {path for pattern in TOKENIZER_FILES for path in model.glob(pattern)}:
        shutil.copy(path, aside)
    aside.rename(output)


def check(plain: Sequence[Path], pretrained: Sequence[Path], margin: float) -> bool:
    """Print test F1 by seed; whether pretraining helped with every seed, and by `margin` on average."""
    pairs = [(read_f1(without), read_f1(with_)) for without, with_ in zip(plain, pretrained, strict=True)]
    gains = [after - before for before, after in pairs]
    print("| seed | F1 without pretraining | F1 with it | gain |\n|---|---|---|---|")
    for folder, (before, after) in zip(plain, pairs, strict=True):
        print(f"| {folder.name.rpartition('-')[2]} | {before:.4f} | {after:.4f} | {after - before:+.4f} |")
    means = [statistics.mean(column) for column in (*zip(*pairs, strict=True), gains)]
    print(f"| mean | {means[0]:.4f} | {means[1]:.4f} | {means[2]:+.4f} |")
    passed = means[2] >= margin and min(gains) > 0
    print(
        f"\n{'Passed' if passed else 'FAILED'}: a mean gain of at least {margin} and a gain with every seed were asked for."
    )
    return passed


def read_f1(folder: Path) -> float:
    return float(json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["test"]["f1_micro"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    texts = steps.add_parser("texts")
    texts.add_argument("data", type=Path)
    texts.add_argument("output", type=Path)
    untrained = steps.add_parser("untrained")
    untrained.add_argument("model", type=Path)
    untrained.add_argument("output", type=Path)
    untrained.add_argument("--seed", type=int, required=True)
    compare = steps.add_parser("check")
    compare.add_argument("plain", type=Path, nargs="+")
    compare.add_argument("--pretrained", type=Path, nargs="+", required=True)
    compare.add_argument("--margin", type=float, required=True)
    options = parser.parse_args()
    if options.step == "check":
        return 0 if check(options.plain, options.pretrained, options.margin) else 1
    if options.step == "texts":
        write_texts(options.data, options.output)
    else:
        write_untrained(options.model, options.output, options.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
