"""BERT pregeneration the published way, as its description has it: one Python loop over documents, sentences and subwords.

Written from the paper (Devlin et al. 2019, appendix A.2) and from what the documents say of the script, as an independent
oracle for `finetune.pregeneration.instances` and as what the benchmark is measured beside. Nothing here is used by the
package.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

CLS, SEP, MASK = "[CLS]", "[SEP]", "[MASK]"


@dataclass
class PublishedSettings:
    max_seq_len: int = 128
    short_seq_prob: float = 0.1
    masked_lm_prob: float = 0.15
    max_predictions_per_seq: int = 20
    whole_words: bool = False


class PublishedInstances:
    """All instances of one epoch over documents of tokenized sentences."""

    def __init__(
        self,
        documents: Sequence[Sequence[list[str]]],
        vocabulary: Sequence[str],
        settings: PublishedSettings,
        seed: int,
    ) -> None:
        self.documents, self.vocabulary, self.settings = documents, vocabulary, settings
        self.random = random.Random(seed)
        self.sentence_totals = list(accumulate(len(document) for document in documents))

    def epoch(self) -> list[dict]:
        return [instance for number in range(len(self.documents)) for instance in self.of_document(number)]

    def of_document(self, number: int) -> list[dict]:
        """Collect sentences until the target is reached; split them in A and B; perhaps replace B, and put its own back."""
        document = self.documents[number]
        limit = self.settings.max_seq_len - 3
        target = limit
        if self.random.random() < self.settings.short_seq_prob:
            target = self.random.randint(2, limit)
        instances, chunk, i = [], [], 0
        while i < len(document):
            chunk.append(document[i])
            if i == len(document) - 1 or sum(map(len, chunk)) >= target:
                cut = self.random.randrange(1, len(chunk)) if len(chunk) >= 2 else 1
                first = [subword for sentence in chunk[:cut] for subword in sentence]
                is_random = len(chunk) == 1 or self.random.random() < 0.5
                if is_random:
                    second = self.random_sentences(number, target - len(first))
                    i -= len(chunk) - cut
                else:
                    second = [subword for sentence in chunk[cut:] for subword in sentence]
                instances.append(self.instance(first, second, is_random, limit))
                chunk = []
            i += 1
        return instances

    def random_sentences(self, number: int, wanted: int) -> list[str]:
        """Sentences of another document, which is drawn by its number of sentences, from a random one on."""
        while True:
            other = bisect_right(self.sentence_totals, self.random.randrange(self.sentence_totals[-1]))
            if other != number:
                break
        document = self.documents[other]
        subwords: list[str] = []
        for sentence in document[self.random.randrange(len(document)) :]:
            subwords.extend(sentence)
            if len(subwords) >= wanted:
                break
        return subwords

    def instance(self, first: list[str], second: list[str], is_random: bool, limit: int) -> dict:
        first, second = list(first), list(second)
        while len(first) + len(second) > limit:
            longer = first if len(first) > len(second) else second
            longer.pop(0 if self.random.random() < 0.5 else -1)
        tokens = [CLS, *first, SEP, *second, SEP]
        segment_ids = [0] * (len(first) + 2) + [1] * (len(second) + 1)
        positions, labels = self.mask(tokens)
        return {
            "tokens": tokens,
            "segment_ids": segment_ids,
            "is_random_next": is_random,
            "masked_lm_positions": positions,
            "masked_lm_labels": labels,
        }

    def mask(self, tokens: list[str]) -> tuple[list[int], list[str]]:
        """Mask subwords or words in random order until the budget is used; words that do not fit are passed over."""
        words: list[list[int]] = []
        for index, token in enumerate(tokens):
            if token in (CLS, SEP):
                continue
            if self.settings.whole_words and words and token.startswith("##") and words[-1][-1] == index - 1:
                words[-1].append(index)
            else:
                words.append([index])
        budget = min(self.settings.max_predictions_per_seq, max(1, round(len(tokens) * self.settings.masked_lm_prob)))
        self.random.shuffle(words)
        chosen: dict[int, str] = {}
        for word in words:
            if len(chosen) + len(word) > budget:
                continue
            for index in word:
                chosen[index] = tokens[index]
                tokens[index] = self.shown_instead(tokens[index])
        positions = sorted(chosen)
        return positions, [chosen[index] for index in positions]

    def shown_instead(self, token: str) -> str:
        if self.random.random() < 0.8:
            return MASK
        return token if self.random.random() < 0.5 else self.random.choice(self.vocabulary)
