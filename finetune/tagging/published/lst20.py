"""LST20 (NECTEC): folders `train`, `eval`, `test` with one file a document; word, POS, NE and clause in four columns.

Boonkwan et al., "The Annotation Guideline of LST20 Corpus", 2020, https://arxiv.org/abs/2008.05055. The licence forbids
passing it on: https://aiforthai.in.th/corpus.php. A space is the word `_`; named entities are spelt `B_PER I_PER E_PER`,
and one of a single word is only a `B_`.
"""

from __future__ import annotations

from finetune.tagging.formats.sentences import Sentences

FOLDERS = {"train": "train", "validation": "eval", "test": "test"}
FILES = {split: (f"{folder}/*.txt", f"*/{folder}/*.txt") for split, folder in FOLDERS.items()}
COLUMNS = {"pos_tags": "1", "ner_tags": "2", "clause_tags": "3"}
SPACE = "_"

_TYPES = ("BRN", "DES", "DTM", "LOC", "MEA", "NUM", "ORG", "PER", "TRM", "TTL")
NER_TAGS = ("O", *(f"{letter}-{name}" for letter in "BIE" for name in _TYPES))
POS_TAGS = ("NN", "VV", "PU", "CC", "PS", "AX", "AV", "FX", "NU", "AJ", "CL", "PR", "NG", "PA", "XX", "IJ")
CLAUSE_TAGS = ("O", "B-CLS", "I-CLS", "E-CLS")


def clean_lst20(sentences: Sentences, task: str) -> Sentences:
    """Spaces as spaces; `B_PER` as `B-PER`; tags outside the published list as `O`, counted."""
    sentences.words = [[" " if word == SPACE else word for word in words] for words in sentences.words]
    if sentences.tags is None or task == "pos_tags":
        return sentences
    known = set(NER_TAGS if task == "ner_tags" else CLAUSE_TAGS)
    spelt = {tag: tag.replace("_", "-", 1) for tags in sentences.tags for tag in tags}
    strange = {tag for tag, spelling in spelt.items() if spelling not in known}
    count = sum(tag in strange for tags in sentences.tags for tag in tags)
    if count:
        sentences.notes.append(f"{count:,} tags outside the published list ({', '.join(sorted(strange))}) became O.")
    sentences.tags = [["O" if tag in strange else spelt[tag] for tag in tags] for tags in sentences.tags]
    return sentences
