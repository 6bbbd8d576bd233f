"""Word-level Thai tokenizers beside the published way: segment every text anew, look words up in a Python dictionary.

    python benchmarks/bench_tokenizers.py            # about half a minute on two cores
    python benchmarks/bench_tokenizers.py --write    # and keep the table in benchmarks/results/

Equality comes first: both sides must give the same ids on every text. Then three kinds of work, in rounds that take
turns, each round with fresh tokenizers: lines of a corpus seen once, the same lines again (a second epoch, a second
split, a prediction after training), and the words of a tagging corpus, each encoded on its own. One process, one
thread. SentencePiece models are timed beside stock transformers. The last line of standard output is JSON.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import statistics
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from measure import DATA, hardware_line, table, write_results

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
BORDERS = re.compile("(<_>|\n|<s>|</s>|<pad>|<unk>|<mask>)")
CHARACTERS = 200_000  # of running text
WORK = ("lines", "lines again", "words")


def read_lines() -> list[str]:
    """Thai Wikipedia and tweets, about `CHARACTERS` of each."""
    lines: list[str] = []
    for archive, key in (("lm/iapp_thai_wiki_qa.zip", "context"), ("wisesight_sentiment/data.zip", "texts")):
        with zipfile.ZipFile(DATA / archive) as opened:
            rows = opened.read("data/train.jsonl").decode("utf-8").split("\n")
        length = 0
        for text in dict.fromkeys(json.loads(row)[key] for row in rows if row):
            parts = [part for part in text.split("\n") if part.strip()]
            lines += parts
            length += sum(map(len, parts))
            if length >= CHARACTERS:
                break
    return lines


def read_words() -> list[str]:
    """The running words of ThaiNER, spaces as `<_>`."""
    text = gzip.decompress((DATA / "thainer/data.conll.gz").read_bytes()).decode("utf-8")
    return [line.split("\t")[0].replace(" ", "<_>") for line in text.split("\n") if line]


def published_way(cut: Callable[[str], list[str]], vocabulary: dict[str, int], texts: list[str]) -> list[list[int]]:
    unknown = vocabulary["<unk>"]
    rows = []
    for text in texts:
        row = []
        for part in BORDERS.split(text.replace(" ", "<_>")):
            if part in vocabulary:
                row.append(vocabulary[part]) if BORDERS.fullmatch(part) else row.extend(_look_up(cut, vocabulary, part))
            elif part:
                row.extend(vocabulary.get(word, unknown) for word in cut(part))
        rows.append(row)
    return rows


def _look_up(cut: Callable[[str], list[str]], vocabulary: dict[str, int], part: str) -> list[int]:
    return [vocabulary.get(word, vocabulary["<unk>"]) for word in cut(part)]


def published_words(cut: Callable[[str], list[str]], vocabulary: dict[str, int], words: list[str]) -> list[list[int]]:
    """The published tagging script keeps every word that it has seen."""
    known: dict[str, list[int]] = {}
    for word in words:
        if word not in known:
            known[word] = published_way(cut, vocabulary, [word])[0]
    return [known[word] for word in words]


def seconds(work: Callable[[], object]) -> tuple[float, object]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def ids_of(tokenizer, texts: list[str]) -> list[list[int]]:
    return tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]


def warm_up() -> None:
    """Load the dictionaries of both sides, so that no side pays for them in the first round."""
    from pythainlp.tokenize import syllable_tokenize

    from finetune.tokenization.segmentation import cut_syllables

    assert cut_syllables("กินข้าว") == syllable_tokenize("กินข้าว", engine="dict")


def bench_kind(kind: str, lines: list[str], words: list[str], rounds: int) -> dict[str, float]:
    from pythainlp.tokenize import syllable_tokenize, word_tokenize

    from finetune.tagging.words import WordEncoder
    from finetune.tokenization.thai_words import THAI_WORD_TOKENIZERS
    from finetune.tokenization.vocabulary import WORD_LEVEL_TOKENS, write_vocabulary

    cut = {"newmm": word_tokenize, "syllable": lambda text: syllable_tokenize(text, engine="dict")}[kind]
    counts = Counter(word for line in lines for part in line.split(" ") for word in cut(part))
    frequent = [word for word, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if count > 1]
    vocabulary = {word: index for index, word in enumerate([*WORD_LEVEL_TOKENS, *frequent])}
    [tokenizer_class] = [item for item in THAI_WORD_TOKENIZERS.values() if item.segmenter_kind == kind]
    with tempfile.TemporaryDirectory() as folder:
        write_vocabulary(Path(folder, f"{kind}.json"), vocabulary)
        times: dict[str, list[float]] = {}
        for _ in range(rounds):
            tokenizer = tokenizer_class.from_pretrained(folder)
            encoder = WordEncoder(tokenizer_class.from_pretrained(folder), space_token="<_>")
            published, ours = partial(published_way, cut, vocabulary), partial(ids_of, tokenizer)
            work = {
                "lines, published": partial(published, lines),
                "lines, ours": partial(ours, lines),
                "lines again, published": partial(published, lines),
                "lines again, ours": partial(ours, lines),
                "words, published": partial(published_words, cut, vocabulary, words),
                "words, ours": partial(encoder.encode, [words]),
            }
            results = {}
            for name, function in work.items():
                spent, results[name] = seconds(function)
                times.setdefault(name, []).append(spent)
            assert results["lines, published"] == results["lines, ours"] == results["lines again, ours"], "ids differ"
            [[*rows]] = results["words, ours"].rows()
            assert rows == results["words, published"], "ids of words differ"
    return {name: statistics.median(values) for name, values in times.items()}


def bench_pieces(lines: list[str], rounds: int) -> dict[str, float]:
    """A SentencePiece model in the Camembert layout: ours beside stock transformers and SentencePiece alone."""
    import io

    import sentencepiece
    from transformers import CamembertTokenizer

    from finetune.tokenization.sentencepiece_models import load_camembert_pieces

    model = io.BytesIO()
    options = {"vocab_size": 4000, "user_defined_symbols": "<_>", "minloglevel": 2, "num_threads": 2}
    spaced = [line.replace(" ", "<_>") for line in lines]
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(spaced), model_writer=model, **options)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "sentencepiece.bpe.model")
        file.write_bytes(model.getvalue())
        ours, stock = load_camembert_pieces(file), CamembertTokenizer.from_pretrained(folder)
        processor = sentencepiece.SentencePieceProcessor(model_file=str(file))
        work = {
            "subwords, stock": lambda: ids_of(stock, spaced),
            "subwords, ours": lambda: ids_of(ours, spaced),
            "subwords, SentencePiece alone": lambda: processor.encode(spaced),
        }
        times: dict[str, list[float]] = {}
        for _ in range(rounds):
            for name, function in work.items():
                times.setdefault(name, []).append(seconds(function)[0])
    return {name: statistics.median(values) for name, values in times.items()}


def describe(kinds: dict[str, dict[str, float]], subwords: dict[str, float]) -> list[str]:
    """The tables."""
    rows = [
        (
            f"{kind}: {work}",
            times[f"{work}, published"],
            times[f"{work}, ours"],
            times[f"{work}, published"] / times[f"{work}, ours"],
        )
        for kind, times in kinds.items()
        for work in WORK
    ]
    return [
        *table(("text", "published way, s", "ours, s", "times as fast"), rows),
        "",
        "A SentencePiece model in the Camembert layout, seconds:",
        "",
        *table(("stock transformers", "ours", "SentencePiece alone"), [tuple(subwords.values())]),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="keep the table in benchmarks/results/")
    arguments = parser.parse_args()

    lines, words = read_lines(), read_words()
    characters = sum(map(len, lines))
    warm_up()
    kinds = {kind: bench_kind(kind, lines, words, arguments.rounds) for kind in ("newmm", "syllable")}
    subwords = bench_pieces(lines, arguments.rounds)
    report = [
        hardware_line("cpu"),
        "",
        f"{len(lines):,} lines of Thai with {characters:,} characters, and {len(words):,} running words of ThaiNER; one "
        f"thread, medians of {arguments.rounds} rounds. Both sides gave the same ids.",
        "",
        *describe(kinds, subwords),
    ]
    print("\n".join(report))
    result = {
        "characters": characters,
        "words": len(words),
        "rounds": arguments.rounds,
        "seconds": kinds,
        "pieces": subwords,
    }
    if arguments.write:
        write_results("tokenizers", "Word-level Thai tokenizers beside the published way", report, result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
