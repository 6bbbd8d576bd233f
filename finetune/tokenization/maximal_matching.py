"""PyThaiNLP's `newmm` with the same words at twice its speed.

Maximal matching over a dictionary, allowed to cut only between Thai character clusters (TCC): of all ways to cover an
ambiguous stretch with dictionary words, the one of fewest words is taken. PyThaiNLP walks a trie letter by letter and
runs a regular expression on a fresh copy of the text for every cluster; here all clusters are found in one pass, words
are looked up cluster by cluster, and positions where only one word fits (most of them) never enter the search.

The dictionary and the patterns are PyThaiNLP's own. With a version that the tests have not verified the result
is first compared on sample sentences, and where that version cuts otherwise it is followed, at its own speed.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Callable, Iterable
from functools import lru_cache
from heapq import heappop, heappush
from itertools import accumulate, pairwise

logger = logging.getLogger(__name__)

MOST_CANDIDATES = 50  # in one ambiguous stretch, after which every position keeps its shortest word only
SHORT_WORD = re.compile("[ก-ฮ]{,2}$")  # one or two consonants: no sign that a known word begins
OPEN_GROUP = re.compile(r"(?<!\\)\((?!\?)")
NO_WORD, SHORT, LONG = 0, 1, 2
VERIFIED_VERSIONS = ("5.4.0",)  # of PyThaiNLP, by the tests, on every line of the Thai data
PROBES = (  # what others are compared on
    "ตากลมโตมาก ประเทศไทยมีอากาศร้อนชื้น ๑๒,๓๔๕.๖๗ บาท 10:30น. abc-DEF123 ซซซกขค ๆ ฯลฯ",
    "คนไทยจำนวนมากใช้โทรศัพท์มือถือสมาร์ตโฟนเพื่อติดต่อสื่อสารกับครอบครัวและเพื่อนฝูงในต่างประเทศ",
    "กฏหมาย สรรพสิ่ง พ.ศ.2533 (เกิด 3 ธันวาคม) ไม่รู้จักฟฟฟฟกันดี้ยยย555 http://a.b/c?d=1\u200b🙂ำ",
)


class MaximalMatcher:
    """Cuts text into dictionary words.

    Parameters
    ----------
    words
        The dictionary.
    clusters
        Pattern of one Thai character cluster; other characters are clusters of their own.
    foreign
        Pattern of a token that is not Thai.
    rejoin
        Puts numbers with separators together again, in a list of words.
    """

    def __init__(
        self,
        words: Iterable[str],
        clusters: re.Pattern[str],
        foreign: re.Pattern[str],
        rejoin: Callable[[list[str]], list[str]],
    ) -> None:
        # Flat, and of plain values only: a trie of some hundred thousand containers would slow every garbage collection.
        self.prefixes: dict[str, int] = {}
        for word in map(str.strip, words):
            for length in range(1, len(word)):
                self.prefixes.setdefault(word[:length], NO_WORD)
            self.prefixes[word] = SHORT if SHORT_WORD.match(word) else LONG
        without_groups = OPEN_GROUP.sub("(?:", clusters.pattern)  # so that findall gives whole clusters
        self.clusters = re.compile(f"(?:{without_groups})|.", re.DOTALL)
        self.foreign, self.rejoin = foreign, rejoin
        self.separated = re.compile(r"\d[.,:]\d")

    def cut(self, text: str) -> list[str]:
        """The words of a text, white space and unknown stretches included; joined they are the text."""
        borders = self._find_borders(text)
        words: list[str] = []
        position = 0
        while position < len(text):
            ends = self._word_ends(text, position, borders)
            if len(ends) > 1:
                position = self._cut_ambiguous(text, position, ends, borders, words)
                continue
            end = ends[0] if ends else self._skip(text, position, borders)
            words.append(text[position:end])
            position = end
        return self.rejoin(words) if self.separated.search(text) else words

    def _find_borders(self, text: str) -> list[int]:
        """For every position where a cluster begins, where it ends; 0 at all others."""
        borders = [0] * (len(text) + 1)
        start = 0
        for end in accumulate(map(len, self.clusters.findall(text))):
            borders[start] = end
            start = end
        return borders

    def _word_ends(self, text: str, start: int, borders: list[int], kind: int = SHORT) -> list[int]:
        """Where dictionary words of this kind or longer, that begin at `start`, end; shortest first."""
        ends = []
        find = self.prefixes.get
        end = borders[start]
        while end and (found := find(text[start:end])) is not None:
            if found >= kind:
                ends.append(end)
            end = borders[end]
        return ends

    def _skip(self, text: str, start: int, borders: list[int]) -> int:
        """The end of what no dictionary word begins: a foreign token, or up to a sign of something known."""
        foreign = self.foreign.match(text, start)
        if foreign:
            return foreign.end()
        position = borders[start]
        while position < len(text) and not self._is_known(text, position, borders):
            position = borders[position]
        return position

    def _is_known(self, text: str, position: int, borders: list[int]) -> bool:
        if self._word_ends(text, position, borders, LONG):
            return True
        return self.foreign.match(text, position) is not None

    def _cut_ambiguous(self, text: str, start: int, ends: list[int], borders: list[int], words: list[str]) -> int:
        """Follow all candidates from `start` until they meet; append the fewest words that lead there."""
        followers = {start: ends}
        pending = ends.copy()  # ascending, so it is a heap
        candidates = len(ends)
        while len(pending) > 1:
            begin = heappop(pending)
            room = max(1, MOST_CANDIDATES + 1 - candidates)
            found = followers[begin] = self._word_ends(text, begin, borders)[:room]
            candidates += len(found)
            for end in found:
                if end not in pending:
                    heappush(pending, end)
        goal = pending[0]
        if goal in ends:  # one word spans it all
            words.append(text[start:goal])
            return goal
        cuts = find_shortest_path(followers, start, goal)
        words.extend(text[a:b] for a, b in pairwise(cuts))
        return goal


def find_shortest_path(followers: dict[int, list[int]], start: int, goal: int) -> list[int]:
    """Breadth-first search; of paths of equal length the one found first, shorter words before longer ones."""
    came_from = {start: start}
    queue = deque([start])
    while goal not in came_from:
        position = queue.popleft()
        for following in followers.get(position, ()):
            if following not in came_from:
                came_from[following] = position
                queue.append(following)
    path = [goal]
    while path[-1] != start:
        path.append(came_from[path[-1]])
    return path[::-1]


@lru_cache
def build_word_cutter() -> Callable[[str], list[str]]:
    """`word_tokenize(text, engine="newmm")`."""
    from pythainlp.corpus import thai_words
    from pythainlp.tokenize import word_tokenize

    return build_cutter(thai_words(), word_tokenize)


@lru_cache
def build_syllable_cutter() -> Callable[[str], list[str]]:
    """`word_tokenize` over the dictionary of syllables: what `syllable_tokenize(engine="dict")` does to each word."""
    from pythainlp.corpus import thai_syllables
    from pythainlp.tokenize import syllable_dict_trie, word_tokenize

    return build_cutter(thai_syllables(), lambda word: word_tokenize(word, custom_dict=syllable_dict_trie()))


def build_cutter(words: Iterable[str], reference: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    """The fast way to cut as `reference` does, or `reference` itself where PyThaiNLP cuts otherwise."""
    import pythainlp

    try:
        from pythainlp.tokenize._utils import rejoin_formatted_num
        from pythainlp.tokenize.newmm import _PAT_NONTHAI
        from pythainlp.tokenize.tcc_p import _PAT_TCC
    except ImportError:
        logger.info(
            "PyThaiNLP %s is arranged otherwise than 5.4, so its own, slower newmm is used.", pythainlp.__version__
        )
        return reference
    cut = MaximalMatcher(words, _PAT_TCC, _PAT_NONTHAI, rejoin_formatted_num).cut
    if pythainlp.__version__ in VERIFIED_VERSIONS or all(cut(probe) == reference(probe) for probe in PROBES):
        return cut
    logger.info("PyThaiNLP %s cuts otherwise than 5.4, so its own, slower newmm is used.", pythainlp.__version__)
    return reference
