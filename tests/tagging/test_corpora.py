"""Named corpora: what the table says, and what is done to ThaiNER and LST20."""

from __future__ import annotations

import gzip
from itertools import chain
from pathlib import Path

import datasets
import pytest

from finetune.data.corpus import Corpus, build_dataset
from finetune.data.files import content_sha256
from finetune.errors import DataError
from finetune.tagging.arguments import TaggingDataArguments
from finetune.tagging.corpora import NAMED, choose_task, wanted_files
from finetune.tagging.corpus import load_tagging_corpus
from finetune.tagging.formats.conll import read_conll
from finetune.tagging.formats.sentences import TagColumns
from finetune.tagging.published import lst20, thainer


def load(**arguments: object) -> Corpus:
    return load_tagging_corpus(TaggingDataArguments(**arguments), seed=1)  # type: ignore[arg-type]


@pytest.fixture
def data_dir(monkeypatch: pytest.MonkeyPatch, shared_data: Path) -> Path:
    monkeypatch.setenv("FINETUNE_DATA_DIR", str(shared_data))
    return shared_data


def test_published_sums_are_those_of_the_files(shared_data: Path) -> None:
    folders = {"thainer": "thainer", "wnut17": "wnut17", "universal_dependencies": "ud"}
    checked = 0
    for name, folder in folders.items():
        for file, official in NAMED[name].official.items():
            (path,) = (shared_data / folder).glob(f"{file}*")
            assert content_sha256(path) == official.sha256
            assert official.url.endswith(f"/{file}")
            checked += 1
    assert checked == 9


def test_thainer_labels_are_those_of_the_published_loader() -> None:
    assert len(thainer.NER_TAGS) == 28
    assert list(thainer.NER_TAGS) == sorted(thainer.NER_TAGS)
    assert [thainer.NER_TAGS[index] for index in (13, 26, 27)] == ["B-ไม่ยืนยัน", "I-ไม่ยืนยัน", "O"]


@pytest.mark.slow
def test_thainer_is_split_as_always(data_dir: Path) -> None:
    corpus = load(dataset_name="thainer", label_name="ner_tags")
    assert {split: len(rows) for split, rows in corpus.splits.items()} == {
        "train": 5078,
        "validation": 635,
        "test": 635,
    }
    assert corpus.labels == list(thainer.NER_TAGS)
    assert any("5 unconfirmed tags" in note for note in corpus.notes)
    tags = set(chain.from_iterable(tags for rows in corpus.splits.values() for tags in rows["tags"][:]))
    assert len(tags) == 26
    # the same sentences as the published code makes, with the same library and seed
    read = read_conll(data_dir / "thainer/data.conll.gz", TagColumns())
    halves = datasets.Dataset.from_dict({"row": list(range(len(read.words)))}).train_test_split(
        test_size=0.2, seed=2020
    )
    rest = halves["test"].train_test_split(test_size=0.5, seed=2020)
    for split, rows in (("train", halves["train"]), ("validation", rest["train"]), ("test", rest["test"])):
        assert corpus.splits[split]["words"][:] == [read.words[row] for row in rows["row"][:]]
        assert corpus.splits[split]["line"][:] == [read.lines[row] for row in rows["row"][:]]
    other = load_tagging_corpus(TaggingDataArguments(dataset_name="thainer"), seed=99)
    assert other.splits["test"]["words"][:] == corpus.splits["test"]["words"][:]
    assert corpus.files["test"] == [data_dir / "thainer/data.conll.gz"]


def test_thainer_parts_of_speech_need_their_own_file(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"place data-pos\.conll"):
        load(dataset_name="thainer", label_name="pos_tags")
    sample = (data_dir / "thainer/data-pos.sample.conll").read_text(encoding="utf-8")
    (tmp_path / "data-pos.conll").write_text((sample.strip("\n") + "\n\n") * 10, encoding="utf-8")
    pos = load(dataset_name="thainer", label_name="pos_tags", data_dir=str(tmp_path))
    assert pos.labels == list(thainer.POS_TAGS)
    assert {split: len(rows) for split, rows in pos.splits.items()} == {"train": 16, "validation": 2, "test": 2}
    assert pos.splits["train"]["tags"][0][0] in thainer.POS_TAGS
    ner = load(dataset_name="thainer", data_dir=str(tmp_path))
    assert set(chain.from_iterable(ner.splits["train"]["tags"][:])) <= set(thainer.NER_TAGS)


def test_long_thainer_tests_are_left_out_by_pieces() -> None:
    rows = build_dataset({"words": [["ab", " ", "c"], ["abcd", "e"], ["a"]]})
    corpus = Corpus("thainer", {"test": rows})
    thainer.filter_long_tests(corpus, list, threshold=5)  # a subword a letter; a space is the three of <_>
    assert corpus.splits["test"]["words"][:] == [["a"]]
    assert corpus.notes == ["2 of 3 test sentences have 5 subwords or more and were left out."]
    with pytest.raises(DataError, match="zero test sentences are left"):
        thainer.filter_long_tests(corpus, list, threshold=1)


@pytest.fixture
def lst20_folder(tmp_path: Path) -> Path:
    documents = {
        "train/T1.txt": "นาย\tNN\tB_TTL\tB_CLS\nวิชัย\tNN\tB_PER\tI_CLS\n_\tPU\tI_PER\tI_CLS\n"
        "ดี\tNN\tE_PER\tE_CLS\n\nไป\tVV\tO\tO\n",
        "train/T2.txt": "กทม\tNN\tB_LOC\tO\nX\tNN\tDTM_B\tO\n_\tPU\tO\tO",
        "eval/T3.txt": "วิชัย\tNN\tB_PER\tO\n",
        "test/T4.txt": "ไป\tVV\tO\tO\n\n",
    }
    for name, text in documents.items():
        path = tmp_path / "LST20_Corpus" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "LST20_Corpus"


def test_lst20_is_read_from_its_folders(lst20_folder: Path) -> None:
    corpus = load(dataset_name="lst20", lst20_data_dir=str(lst20_folder), label_name="ner_tags")
    train = corpus.splits["train"]
    assert train["words"][:] == [["นาย", "วิชัย", " ", "ดี"], ["ไป"], ["กทม", "X", " "]]
    assert train["tags"][:] == [["B-TTL", "B-PER", "I-PER", "E-PER"], ["O"], ["B-LOC", "O", "O"]]
    assert train["file"][:] == [0, 0, 1]
    assert [path.name for path in corpus.files["train"]] == ["T1.txt", "T2.txt"]
    assert corpus.labels == list(lst20.NER_TAGS)
    assert len(lst20.NER_TAGS) == 31
    assert any("1 tags outside the published list (DTM_B) became O" in note for note in corpus.notes)
    assert {split: len(rows) for split, rows in corpus.splits.items()} == {"train": 3, "validation": 1, "test": 1}


@pytest.mark.parametrize(
    ("task", "first"), [("pos_tags", ["NN", "NN", "PU", "NN"]), ("clause", ["B-CLS", "I-CLS", "I-CLS", "E-CLS"])]
)
def test_lst20_has_other_tags(lst20_folder: Path, task: str, first: list[str]) -> None:
    corpus = load(dataset_name="lst20", lst20_data_dir=str(lst20_folder.parent), label_name=task)
    assert corpus.splits["train"]["tags"][0] == first


def test_lst20_says_how_to_come_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FINETUNE_DATA_DIR", raising=False)
    with pytest.raises(DataError, match=r"place train/\*\.txt.*aiforthai\.in\.th.*--lst20_data_dir"):
        load(dataset_name="lst20")


def test_wnut17_is_scored_on_the_annotated_test_file(data_dir: Path) -> None:
    corpus = load(dataset_name="wnut17")
    assert {split: len(rows) for split, rows in corpus.splits.items()} == {
        "train": 3394,
        "validation": 1009,
        "test": 1287,
    }
    assert {split: sum(map(len, rows["words"][:])) for split, rows in corpus.splits.items()} == {
        "train": 62730,
        "validation": 15733,
        "test": 23394,
    }
    assert [path.name for path in corpus.files["test"]] == ["emerging.test.annotated.gz"]
    assert corpus.labels is not None
    assert corpus.labels[:3] == ["O", "B-corporation", "I-corporation"]
    assert len(corpus.labels) == 13
    train = corpus.splits["train"]
    rows = [tuple(words) for words in train["words"][:]]
    tagged = list(zip(rows, map(tuple, train["tags"][:]), strict=True))
    assert len(tagged) - len(set(tagged)) == 91  # as the data's own description counts them: with their tags
    assert f"{len(rows) - len(set(rows)):,} of 3,394 sentences of train repeat an earlier one." in corpus.notes


def test_treebanks_are_found_by_configuration(data_dir: Path) -> None:
    corpus = load(dataset_name="universal_dependencies", dataset_config_name="th_tud")
    assert {split: len(rows) for split, rows in corpus.splits.items()} == {
        "train": 2902,
        "validation": 362,
        "test": 363,
    }
    assert corpus.labels is not None
    assert len(corpus.labels) == 17
    english = load(dataset_name="universal_dependencies", dataset_config_name="en_ewt", label_name="xpos")
    assert list(english.splits) == ["validation", "test"]
    assert english.labels is None
    with pytest.raises(DataError, match="--dataset_config_name"):
        load(dataset_name="universal_dependencies")
    with pytest.raises(DataError, match=r"place xx_yy-ud-train\.conllu, xx_yy-ud-dev\.conllu"):
        load(dataset_name="universal_dependencies", dataset_config_name="xx_yy")


@pytest.mark.parametrize(
    ("task", "tags"), [("ner_tags", ["I-ORG", "O"]), ("pos", ["NNP", "VBZ"]), ("chunk_tags", ["I-NP", "I-VP"])]
)
@pytest.mark.parametrize("names", [("train.txt", "valid.txt", "test.txt"), ("eng.train", "eng.testa", "eng.testb.gz")])
def test_conll2003_goes_by_its_names(tmp_path: Path, names: tuple[str, ...], task: str, tags: list[str]) -> None:
    text = "-DOCSTART- -X- O O\n\nEU NNP I-NP I-ORG\nrejects VBZ I-VP O\n\n"
    for name in names:
        (tmp_path / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    corpus = load(dataset_name="conll2003", data_dir=str(tmp_path), label_name=task)
    assert corpus.splits["test"]["tags"][:] == [tags]
    assert corpus.splits["train"]["words"][:] == [["EU", "rejects"]]


@pytest.mark.parametrize("name", ["dummytest", "sample", "sample_th"])
def test_corpora_that_are_made_need_no_file(name: str) -> None:
    corpus = load(dataset_name=name)
    assert list(corpus.splits) == ["train", "validation", "test"]
    assert corpus.files == {}
    assert corpus.labels is not None


def test_only_dummytest_depends_on_the_seed() -> None:
    def test_words(name: str, seed: int) -> list:
        return load_tagging_corpus(TaggingDataArguments(dataset_name=name), seed=seed).splits["test"]["words"][:]

    assert test_words("sample", 1) == test_words("sample", 2)
    assert test_words("dummytest", 1) != test_words("dummytest", 2)


def test_kinds_of_tags_are_checked() -> None:
    assert choose_task("thainer", None) == "ner_tags"
    assert choose_task("thainer", "pos") == "pos_tags"
    with pytest.raises(DataError, match=r"wnut17 has no 'pos_tags'.*--label_name"):
        choose_task("wnut17", "pos_tags")


def test_every_corpus_can_be_looked_for() -> None:
    for name, corpus in NAMED.items():
        for task in corpus.tags:
            assert corpus.make or wanted_files(name, task, "th_tud").patterns["train"]


def test_parquet_files_of_the_hub_are_read_like_the_published_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FINETUNE_DATA_DIR", raising=False)
    features = datasets.Features(
        {
            "tokens": datasets.List(datasets.Value("string")),
            "pos_tags": datasets.List(datasets.ClassLabel(names=list(thainer.POS_TAGS))),
            "ner_tags": datasets.List(datasets.ClassLabel(names=list(thainer.NER_TAGS))),
        }
    )
    values = {"tokens": [["ก", " "]] * 20, "pos_tags": [[0, 1]] * 20, "ner_tags": [[13, 27]] * 20}
    folder = tmp_path / "thainer" / "train"
    folder.mkdir(parents=True)
    datasets.Dataset.from_dict(values, features=features).to_parquet(folder / "0000.parquet")
    monkeypatch.setattr("finetune.data.sources.snapshot_download", lambda *args, **kwargs: str(tmp_path))
    corpus = load(dataset_name="thainer", allow_no_entities=True)
    assert {split: len(rows) for split, rows in corpus.splits.items()} == {"train": 16, "validation": 2, "test": 2}
    assert corpus.splits["train"]["tags"][0] == ["O", "O"]
    words = load(dataset_name="thainer", label_name="pos_tags", allow_no_entities=True)
    assert words.splits["test"]["tags"][0] == ["ADJ", "ADP"]
