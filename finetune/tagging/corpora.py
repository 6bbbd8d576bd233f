"""The corpora that have a name here: one table of where their files are, what they declare, and what is done to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from datasets import Dataset

from finetune.arguments.nearest import allowed_values
from finetune.data.sources import Official, Patterns, Wanted
from finetune.errors import DataError, Problem
from finetune.tagging.formats.conllu import UPOS_TAGS
from finetune.tagging.formats.sentences import Sentences
from finetune.tagging.published import dummy, lst20, thainer
from finetune.tagging.published.sample import SAMPLE_TAGS, make_sample
from finetune.tagging.published.sample_thai import make_thai_sample

GITHUB = "https://raw.githubusercontent.com"
THAINER = f"{GITHUB}/wannaphong/thai-ner/c22ec8ea8284e8ad6ef83a43d5cbfb941dfb2523/model/1.3"
WNUT17 = f"{GITHUB}/leondz/emerging_entities_17/e52a2d2a71ac1a051ca2d532eef28653c5c02603"
THAI_TUD = f"{GITHUB}/UniversalDependencies/UD_Thai-TUD/58c2058bcd542a759c03bcac4cf6e48aff27cf50"
ENGLISH_EWT = f"{GITHUB}/UniversalDependencies/UD_English-EWT/15d613d8447b3478787d4c278730a1e48a945efb"

_WNUT17_TYPES = ("corporation", "creative-work", "group", "location", "person", "product")


@dataclass(frozen=True)
class NamedCorpus:
    """A corpus with a name.

    `tags` holds the kinds of tags that it has, the usual one first, each with its declared labels (None: collected from
    train). `files` are its files by split, `task_files` those of a kind of tags that has its own; `{config}` stands for
    the configuration, which is needed where it occurs. `columns` says which column of the files holds a kind of tags.
    `advice` says how to come by it where it cannot be fetched. `clean` repairs tags; `split` makes splits where only one
    is published; `make` generates the corpus instead. `file_is_document` where documents are marked by files alone.
    """

    tags: Mapping[str, tuple[str, ...] | None]
    files: Patterns = field(default_factory=dict)
    task_files: Mapping[str, Patterns] = field(default_factory=dict)
    folders: Sequence[str] = ()
    hub: str = ""
    hub_config: str = ""
    official: Mapping[str, Official] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    advice: str = ""
    clean: Callable[[Sentences, str], Sentences] | None = None
    split: Callable[[Dataset], dict[str, Dataset]] | None = None
    make: Callable[[str, int], dict[str, Sentences]] | None = None
    file_is_document: bool = False


NAMED: dict[str, NamedCorpus] = {
    "thainer": NamedCorpus(
        tags={"ner_tags": thainer.NER_TAGS, "pos_tags": thainer.POS_TAGS},
        files={"train": ("data.conll", "data-pos.conll")},
        task_files={"pos_tags": {"train": ("data-pos.conll",)}},
        folders=("thainer",),
        hub="thainer",
        official={
            "data.conll": Official(
                f"{THAINER}/data.conll", "9bd5cef424d3e80e1d30250fd8e3c2933df34b132934d0444a35ec1247ca370c"
            )
        },
        columns={"ner_tags": "-1", "pos_tags": "1"},
        clean=thainer.clean_thainer,
        split=thainer.split_thainer,
    ),
    "lst20": NamedCorpus(
        tags={"ner_tags": lst20.NER_TAGS, "pos_tags": lst20.POS_TAGS, "clause_tags": lst20.CLAUSE_TAGS},
        files=lst20.FILES,
        folders=("lst20", "LST20_Corpus", "LST20Corpus"),
        columns=lst20.COLUMNS,
        advice="LST20 has to be asked for at https://aiforthai.in.th/corpus.php; --lst20_data_dir names its folder",
        clean=lst20.clean_lst20,
        file_is_document=True,
    ),
    "wnut17": NamedCorpus(
        tags={"ner_tags": ("O", *(f"{letter}-{name}" for name in _WNUT17_TYPES for letter in "BI"))},
        files={
            "train": ("wnut17train.conll",),
            "validation": ("emerging.dev.conll",),
            "test": ("emerging.test.annotated",),
        },
        folders=("wnut17", "wnut_17"),
        hub="leondz/wnut_17",
        official={
            "wnut17train.conll": Official(
                f"{WNUT17}/wnut17train.conll", "731820e13f71af324c6b55a1575ec2ce59fbaa2a0806f8f0400b98d56cd6a7a5"
            ),
            "emerging.dev.conll": Official(
                f"{WNUT17}/emerging.dev.conll", "e053b752b8155113ca66e7db08af5f2f5f43ab993694e4774f1ec5bad42312d8"
            ),
            "emerging.test.annotated": Official(
                f"{WNUT17}/emerging.test.annotated",
                "2aa79b764e56ec9264a1b30fdd9b70195bd00ff400b62edd8f399d5f13c178f0",
            ),
        },
        columns={"ner_tags": "1"},
    ),
    "conll2003": NamedCorpus(
        tags={
            "ner_tags": ("O", *(f"{letter}-{name}" for name in ("PER", "ORG", "LOC", "MISC") for letter in "BI")),
            "pos_tags": None,
            "chunk_tags": None,
        },
        files={
            "train": ("train.txt", "eng.train", "train.conll"),
            "validation": ("dev.txt", "valid.txt", "eng.testa", "testa.txt", "dev.conll", "valid.conll"),
            "test": ("test.txt", "eng.testb", "testb.txt", "test.conll"),
        },
        folders=("conll2003", "conll-2003", "conll03"),
        hub="eriktks/conll2003",
        hub_config="conll2003",
        columns={"ner_tags": "-1", "pos_tags": "1", "chunk_tags": "2"},
        advice="the text is Reuters' and may not be passed on: https://www.clips.uantwerpen.be/conll2003/ner/",
    ),
    "universal_dependencies": NamedCorpus(
        tags={"pos_tags": UPOS_TAGS, "upos": UPOS_TAGS, "xpos": None, "feats": None},
        files={
            "train": ("{config}-ud-train.conllu", "{config}-ud-train-*.conllu"),
            "validation": ("{config}-ud-dev.conllu",),
            "test": ("{config}-ud-test.conllu",),
        },
        folders=("universal_dependencies", "ud"),
        hub="universal-dependencies/universal_dependencies",
        hub_config="{config}",
        official={
            "th_tud-ud-train.conllu": Official(
                f"{THAI_TUD}/th_tud-ud-train.conllu", "e0d7d4aef175e4c1427585d66425dfc5ec60114b47b42a2aa0f3b9b17a82382e"
            ),
            "th_tud-ud-dev.conllu": Official(
                f"{THAI_TUD}/th_tud-ud-dev.conllu", "ad6a334d5cebb96e86b1d1928f30515765724e6041543833ad78393e3106dc93"
            ),
            "th_tud-ud-test.conllu": Official(
                f"{THAI_TUD}/th_tud-ud-test.conllu", "294547eb580d2d44aee73f131355f7a9cb552a93515bef24b855d7366a24e2f7"
            ),
            "en_ewt-ud-dev.conllu": Official(
                f"{ENGLISH_EWT}/en_ewt-ud-dev.conllu",
                "531a54ff90d6ab12201c5a50c3e78e6ddac4de69abc4bce5d275d3cd29efe2b6",
            ),
            "en_ewt-ud-test.conllu": Official(
                f"{ENGLISH_EWT}/en_ewt-ud-test.conllu",
                "e266e515a0a7547657ed3d90d9ba46487d6bd251f27ad4269d4e8a427c8555cd",
            ),
        },
        columns={"pos_tags": "upos", "upos": "upos", "xpos": "xpos", "feats": "feats"},
    ),
    "dummytest": NamedCorpus(tags={"ner_tags": dummy.NER_TAGS, "pos_tags": dummy.POS_TAGS}, make=dummy.make_dummytest),
    # These two are always the same, whatever --seed says.
    "sample": NamedCorpus(tags={"ner_tags": SAMPLE_TAGS}, make=lambda task, seed: make_sample()),  # noqa: ARG005
    "sample_th": NamedCorpus(tags={"ner_tags": SAMPLE_TAGS}, make=lambda task, seed: make_thai_sample()),  # noqa: ARG005
}


def choose_task(name: str, task: str | None) -> str:
    """The kind of tags to read from a named corpus: the one asked for, else its usual one.

    Raises:
        DataError: the corpus has no such tags.
    """
    known = list(NAMED[name].tags)
    if task is None:
        return known[0]
    for spelling in (task, f"{task}_tags"):
        if spelling in known:
            return spelling
    raise DataError(Problem(f"{name} has no {task!r}", allowed_values(task, known), "choose with --label_name"))


def wanted_files(name: str, task: str, config: str | None) -> Wanted:
    """What to look for to have the tags of `task` of a named corpus.

    Raises:
        DataError: the corpus has configurations and none was chosen.
    """
    corpus = NAMED[name]
    patterns = corpus.task_files.get(task, corpus.files)
    if config is None and any("{config}" in pattern for names in patterns.values() for pattern in names):
        found = f"{name} has many parts and none was chosen"
        raise DataError(Problem(found, "one like th_tud or en_ewt is needed", "choose with --dataset_config_name"))
    filled = {split: [name.format(config=config) for name in names] for split, names in patterns.items()}
    hub_config = corpus.hub_config.format(config=config)
    return Wanted(name, corpus.folders, filled, corpus.hub, hub_config, corpus.official, corpus.advice)
