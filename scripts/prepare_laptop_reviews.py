"""Amazon's reviews of laptops -> one sentence a line with an empty line between reviews, for pretraining.

    python prepare_laptop_reviews.py --reviews_file data/raw/reviews_Electronics.json.gz \\
        --meta_file data/raw/meta_Electronics.json.gz

The files are read as a stream. Reviews of one sentence are left out, since next-sentence prediction needs two; what is
left out is counted. pregenerate_training_data.py reads the result.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from finetune import cli
from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.preparation import LaptopArguments, ReviewOutputArguments
from finetune.run.folder import Run

MAX_REVIEWS, MAX_SENTENCES = 1_000_000, 25_000_000


def make_parser() -> CommandParser:
    return CommandParser(__doc__ or "", (LaptopArguments, ReviewOutputArguments))


def main(arguments: Arguments, _: Run) -> dict[str, Any]:
    from finetune.data import reviews

    asked, output = arguments[LaptopArguments], arguments[ReviewOutputArguments]
    target = reviews.refuse_existing(Path(asked.output_file), overwrite=output.overwrite)
    products = reviews.find_products(Path(asked.meta_file), asked.category, "asin")
    print(f"Found {len(products):,} products of the category {asked.category}")
    counts = reviews.ReviewCounts()
    records = reviews.iterate_records(Path(asked.reviews_file))
    texts = reviews.select_texts(records, "reviewText", counts, products, "asin")
    limits = {"max_reviews": output.max_reviews or MAX_REVIEWS, "max_sentences": output.max_sentences or MAX_SENTENCES}
    path = reviews.write_documents(target, reviews.iterate_documents(texts, counts, **limits), counts)
    print(f"{path}: {counts}")
    return {"output_file": str(path), **asdict(counts)}


if __name__ == "__main__":
    cli.launch(make_parser, main, needs_folder=False)
