"""What a user can say to the commands that prepare data: reviews for pretraining, aspect sentiment, GLUE."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.arguments.fields import argument

RAW, TRANSFORMED = "data/raw", "data/transformed"


@dataclass
class ReviewOutputArguments:
    """What is written."""

    max_reviews: int | None = argument(None, minimum=1, help="stop after so many reviews")
    max_sentences: int | None = argument(None, minimum=1, help="stop once there are so many sentences")
    overwrite: bool = argument(False, help="replace an output file that is there")


@dataclass
class LaptopArguments:
    """Amazon reviews of laptops (https://jmcauley.ucsd.edu/data/amazon)."""

    reviews_file: str = argument(
        f"{RAW}/reviews_Electronics.json.gz", metavar="FILE", help="reviews, one JSON object a line, .gz too"
    )
    meta_file: str = argument(
        f"{RAW}/meta_Electronics.json.gz", metavar="FILE", help="metadata of the products, with their categories"
    )
    category: str = argument("Laptops", help="which products")
    output_file: str = argument(
        f"{TRANSFORMED}/laptop_corpus_{{sentences}}.txt", metavar="FILE", help="{sentences} becomes their number"
    )


@dataclass
class RestaurantArguments:
    """Yelp reviews (https://www.yelp.com/dataset)."""

    reviews_file: str = argument(f"{RAW}/review.json", metavar="FILE", help="reviews, one JSON object a line, .gz too")
    business_file: str | None = argument(
        None, metavar="FILE", help="Yelp's businesses, to keep the reviews of one --category (by default: all reviews)"
    )
    category: str = argument("Restaurants", help="which businesses, with --business_file")
    large: bool = argument(False, help="ten times as much: ten million sentences of 1,250,000 reviews")
    output_file: str = argument(
        f"{TRANSFORMED}/restaurant_corpus_{{sentences}}.txt", metavar="FILE", help="{sentences} becomes their number"
    )


@dataclass
class SemevalArguments:
    """SemEval-2014 Task 4 files."""

    files: list[str] = argument(metavar="FILE", help="XML files; several are put together")
    output_dir: str = argument(f"{TRANSFORMED}/untitled", metavar="FOLDER", help="where the new XML files go")
    istrain: bool = argument(
        False, help="write train.xml, dev.xml (a tenth) and train_split.xml (the rest); without it test.xml"
    )
    noconfl: bool = argument(False, help="leave out aspects with conflicting sentiment")
    upsample: str | None = argument(
        None,
        metavar="'POS NEG NEU'",
        help="shares of the labels in train.xml and train_split.xml, such as '0.5 0.3 0.2'",
    )
    aspects: str = argument("terms", choices=("terms", "categories"), help="aspect terms, or aspect categories")
    seed: int = argument(41, help="draws the dev split and the repeated pairs")
    overwrite: bool = argument(False, help="replace files that are there")


@dataclass
class DownloadGlueArguments:
    """GLUE downloads and checks."""

    data_dir: str = argument("glue_data", metavar="FOLDER", help="where the tasks are, or go")
    tasks: str = argument("all", help="tasks separated by commas: CoLA, SST, MRPC, QQP, STS, MNLI, QNLI, RTE, WNLI, AX")
    path_to_mrpc: str = argument("", metavar="FOLDER", help="msr_paraphrase_train.txt and msr_paraphrase_test.txt")
    check: str | None = argument(
        None,
        metavar="PATH",
        help="check a folder of GLUE data, or a submission (folder, .zip, or one .tsv); fetch nothing",
    )
