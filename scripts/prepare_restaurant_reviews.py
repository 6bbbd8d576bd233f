"""Yelp's reviews of restaurants -> one sentence a line with an empty line between reviews, for pretraining.

    python prepare_restaurant_reviews.py --reviews_file data/raw/review.json
    python prepare_restaurant_reviews.py --large --business_file data/raw/business.json

The files are read as a stream. Reviews of one sentence are left out, since next-sentence prediction needs two; what is
left out is counted. pregenerate_training_data.py reads the result.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from finetune import cli
from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.preparation import RestaurantArguments, ReviewOutputArguments
from finetune.run.folder import Run

MAX_REVIEWS = {False: 125_000, True: 1_250_000}
MAX_SENTENCES = {False: 1_000_000, True: 10_000_000}


def make_parser() -> CommandParser:
    return CommandParser(__doc__ or "", (RestaurantArguments, ReviewOutputArguments))


def main(arguments: Arguments, _: Run) -> dict[str, Any]:
    from finetune.data import reviews

    asked, output = arguments[RestaurantArguments], arguments[ReviewOutputArguments]
    target = reviews.refuse_existing(Path(asked.output_file), overwrite=output.overwrite)
    products = None
    if asked.business_file:
        products = reviews.find_products(Path(asked.business_file), asked.category, "business_id")
        print(f"Found {len(products):,} businesses of the category {asked.category}")
    counts = reviews.ReviewCounts()
    records = reviews.iterate_records(Path(asked.reviews_file))
    texts = reviews.select_texts(records, "text", counts, products, "business_id")
    limits = {
        "max_reviews": output.max_reviews or MAX_REVIEWS[asked.large],
        "max_sentences": output.max_sentences or MAX_SENTENCES[asked.large],
    }
    path = reviews.write_documents(target, reviews.iterate_documents(texts, counts, **limits), counts)
    print(f"{path}: {counts}")
    return {"output_file": str(path), **asdict(counts)}


if __name__ == "__main__":
    cli.launch(make_parser, main, needs_folder=False)
