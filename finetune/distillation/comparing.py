"""How the vocabularies of two tokenizers differ, in words."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

SHOWN = 3


def describe_difference(
    first: PreTrainedTokenizerBase, second: PreTrainedTokenizerBase, names: tuple[str, str]
) -> str | None:
    """What differs between two vocabularies, by ids; None where every id stands for the same subword.

    `names` are how the two are called: `("the data", "the teacher")`.
    """
    ours, theirs = first.get_vocab(), second.get_vocab()
    subwords, others = ({number: subword for subword, number in found.items()} for found in (ours, theirs))
    differing = sorted(number for number in {*subwords, *others} if subwords.get(number) != others.get(number))
    if not differing:
        return None
    sizes = "" if len(ours) == len(theirs) else f"{names[0]} has {len(ours):,} entries, {names[1]} {len(theirs):,}; "
    shown = ", ".join(
        f"{number} is {_show(subwords.get(number))} in {names[0]} and {_show(others.get(number))} in {names[1]}"
        for number in differing[:SHOWN]
    )
    return f"{sizes}ids that stand for other subwords: {len(differing):,} ({shown})"


def _show(subword: str | None) -> str:
    return "nothing" if subword is None else repr(subword)
