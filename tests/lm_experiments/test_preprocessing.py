"""What preprocessing functions hide, and the labels they make; by hand, and by hypothesis over random batches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from finetune.errors import DataError, UsageError
from finetune.lm_experiments import preprocessing
from finetune.lm_experiments.preprocessing import call_preprocessing, check_keywords
from finetune.lm_experiments.span_corruption import TokenRoles, draw_spans
from tests.tiny import word_level

WORDS = "a b c d e f g h new york city".split()  # noqa: SIM905


def make_tokenizer(kind: str) -> PreTrainedTokenizerFast:
    special = {"mlm": ["[CLS]", "[MASK]"], "seq2seq": [f"<extra_id_{n}>" for n in range(20)], "lm": []}[kind]
    names = ["<pad>", "</s>", "<unk>", *special, *WORDS]
    roles = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    if kind == "mlm":
        roles |= {"mask_token": "[MASK]", "cls_token": "[CLS]"}
    return word_level(names, **roles, additional_special_tokens=special[2:] or None)


MLM, SEQ2SEQ, LM = (make_tokenizer(kind) for kind in ("mlm", "seq2seq", "lm"))


def encode(tokenizer, *texts: str) -> dict[str, np.ndarray]:
    """Padded ids with the end-of-text token, as a batch."""
    rows = [[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in texts]
    width = max(map(len, rows))
    ids = np.array([[*row, *[tokenizer.pad_token_id] * (width - len(row))] for row in rows])
    mask = np.array([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return {"input_ids": ids, "attention_mask": mask}


def show(tokenizer, ids: np.ndarray) -> str:
    return " ".join(tokenizer.convert_ids_to_tokens([int(number) for number in ids if number not in (-100, 0)]))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


texts_of_words = st.lists(
    st.lists(st.sampled_from(WORDS[:8]), min_size=1, max_size=12).map(" ".join), min_size=1, max_size=5
)


def merge_spans(tokenizer, inputs: np.ndarray, labels: np.ndarray) -> list[int]:
    """The text that a corrupted input and its labels tell together."""
    first, last = tokenizer.convert_tokens_to_ids(["<extra_id_0>", "<extra_id_19>"])
    spans, sentinel = {}, None
    for number in labels[labels != -100]:
        if first <= number <= last:
            sentinel = int(number)
            spans[sentinel] = []
        else:
            spans[sentinel].append(int(number))
    assert spans.pop(sentinel) == []  # the final one
    text = [number for item in inputs if item != 0 for number in (spans.pop(int(item), None) or [int(item)])]
    assert not spans
    return text


def test_identity_labels_all_but_padding():
    batch = encode(LM, "a b c", "a")
    labels = preprocessing.identity(batch, LM)["labels"]
    assert labels.tolist() == [batch["input_ids"][0].tolist(), [*batch["input_ids"][1, :2], -100, -100]]
    given_labels = {**batch, "labels": np.zeros((2, 1))}
    assert preprocessing.identity(given_labels, LM)["labels"].shape == (2, 1)


def test_labels_only_under_masks():
    batch = {**encode(MLM, "a [MASK] c"), "labels": encode(MLM, "a b c")["input_ids"]}
    labels = preprocessing.remove_non_mask_tokens_from_labels(batch, MLM)["labels"]
    assert labels.tolist() == [[-100, MLM.convert_tokens_to_ids("b"), -100, -100]]
    with pytest.raises(DataError, match="labels are 3 tokens long"):
        preprocessing.remove_non_mask_tokens_from_labels({**batch, "labels": np.zeros((1, 3))}, MLM)
    with pytest.raises(DataError, match="labels are missing"):
        preprocessing.remove_non_mask_tokens_from_labels(encode(MLM, "a"), MLM)


@settings(deadline=None)
@given(texts_of_words, st.floats(0.01, 1.0), st.integers(0, 99))
def test_random_tokens(texts, share, seed):
    batch = encode(MLM, *texts)
    result = preprocessing.mask_random_tokens(batch, MLM, mask_prop=share, rng=rng(seed))
    chosen = result["labels"] != -100
    tokens = np.array([len(text.split()) for text in texts])
    assert chosen.sum(1).tolist() == np.maximum(np.rint(tokens * share), 1).tolist()
    assert (result["labels"][chosen] == batch["input_ids"][chosen]).all()
    assert (result["input_ids"][~chosen] == batch["input_ids"][~chosen]).all()
    assert set(result["input_ids"][chosen]) <= {MLM.mask_token_id, *MLM.convert_tokens_to_ids(WORDS)}


def test_replacement_shares_are_what_was_asked():
    batch = encode(MLM, *["a b c d e f g h"] * 500)
    shares = {"mask": 0.7, "random": 0.2, "original": 0.1}  # their floating-point sum is not exactly 1
    result = preprocessing.mask_random_tokens(batch, MLM, mask_prop=1, replacement_props=shares, rng=rng())
    shown, hidden = result["input_ids"][:, :8], batch["input_ids"][:, :8]
    assert (shown == MLM.mask_token_id).mean() == pytest.approx(0.7, abs=0.03)
    assert (shown == hidden).mean() == pytest.approx(0.1 + 0.2 / len(WORDS), abs=0.03)


def test_wrong_shares_are_all_named():
    with pytest.raises(UsageError) as raised:
        preprocessing.mask_random_tokens(
            encode(MLM, "a"), MLM, mask_prop=0, replacement_props={"mask": 0.5, "rondom": 0.1}, rng=rng()
        )
    assert len(raised.value.problems) == 3


@settings(deadline=None)
@given(texts_of_words, st.floats(0.05, 0.9), st.floats(1, 5), st.integers(0, 99))
def test_random_spans_lose_nothing_and_show_the_first_token(texts, share, mean, seed):
    batch = encode(SEQ2SEQ, *texts)
    result = preprocessing.mask_random_spans(
        batch, SEQ2SEQ, mask_prop=share, mean_noise_span_length=mean, rng=rng(seed)
    )
    for row, text in enumerate(texts):
        assert (
            merge_spans(SEQ2SEQ, result["input_ids"][row], result["labels"][row])
            == encode(SEQ2SEQ, text)["input_ids"][0].tolist()
        )
        assert result["input_ids"][row, 0] == batch["input_ids"][row, 0]
    assert ((result["input_ids"] != 0) == (result["attention_mask"] == 1)).all()


@settings(deadline=None)
@given(texts_of_words, st.floats(0.05, 1.0), st.integers(0, 99))
def test_truerandom_spans_lose_nothing_and_hide_what_was_asked(texts, share, seed):
    batch = encode(SEQ2SEQ, *texts)
    result = preprocessing.mask_truerandom_spans(batch, SEQ2SEQ, mask_prop=share, rng=rng(seed))
    first, last = SEQ2SEQ.convert_tokens_to_ids(["<extra_id_0>", "<extra_id_19>"])
    for row, text in enumerate(texts):
        shown, labels = result["input_ids"][row], result["labels"][row]
        assert merge_spans(SEQ2SEQ, shown, labels) == encode(SEQ2SEQ, text)["input_ids"][0].tolist()
        hidden = ((labels != -100) & ~((labels >= first) & (labels <= last))).sum()
        assert hidden == max(round(len(text.split()) * share), 1)
        sentinels = (shown >= first) & (shown <= last)
        assert not (sentinels[1:] & sentinels[:-1]).any()  # adjacent ones share one


def test_spans_have_the_mean_length_of_t5():
    allowed = np.ones((400, 100), dtype=bool)
    noise, starts = draw_spans(allowed, 0.15, 3.0, rng())
    assert noise.sum(1).tolist() == [15] * 400 and starts.sum(1).tolist() == [5] * 400
    assert not noise[:, 0].any()
    places = noise.mean(0)[10:90]
    assert places.std() < 0.05  # no place is preferred


@pytest.mark.parametrize("tokenizer", [MLM, SEQ2SEQ], ids=["mlm", "seq2seq"])
def test_expansion_hides_each_token_once(tokenizer):
    batch = encode(tokenizer, "a b c", "d")
    result = preprocessing.expand_with_masks(batch, tokenizer)
    hidden = "[MASK]" if tokenizer is MLM else "<extra_id_0>"
    shown = [show(tokenizer, row) for row in result["input_ids"]]
    assert shown == [f"{hidden} b c </s>", f"a {hidden} c </s>", f"a b {hidden} </s>", f"{hidden} </s>"]
    labels = [show(tokenizer, row) for row in result["labels"]]
    around = "{}" if tokenizer is MLM else "<extra_id_0> {} <extra_id_1>"
    assert labels == [around.format(word) for word in "abcd"]
    assert result["expanded_lengths"].tolist() == [3, 1, -1, -1]


def test_expansion_of_a_text_without_tokens():
    result = preprocessing.expand_with_masks(encode(MLM, "", "a"), MLM)
    assert len(result["input_ids"]) == 1 and result["expanded_lengths"].tolist() == [0, 1]


def test_word_tokens():
    for tokenizer, shown, labels in [
        (MLM, "[MASK] b [MASK] </s>", "a a"),
        (SEQ2SEQ, "<extra_id_0> b <extra_id_1> </s>", "<extra_id_0> a <extra_id_1> a <extra_id_2>"),
    ]:
        result = preprocessing.mask_word_tokens(encode(tokenizer, "a b a", "b"), tokenizer, word_tokens_to_mask="a")
        assert show(tokenizer, result["input_ids"][0]) == shown
        assert show(tokenizer, result["labels"][0]) == labels
        assert show(tokenizer, result["input_ids"][1]) == "b </s>"
    with pytest.raises(UsageError) as raised:
        preprocessing.mask_word_tokens(encode(MLM, "a"), MLM, word_tokens_to_mask=["nothing", "a", "new york"])
    assert len(raised.value.problems) == 2


def test_words_of_several_tokens_longest_first():
    text = "new york city a new york city new"
    words = ["new york city", "new", "york city"]
    mlm = preprocessing.mask_words(encode(MLM, text), MLM, words_to_mask=words)
    assert show(MLM, mlm["input_ids"][0]) == "[MASK] [MASK] [MASK] a [MASK] [MASK] [MASK] [MASK] </s>"
    spans = preprocessing.mask_words(encode(SEQ2SEQ, text), SEQ2SEQ, words_to_mask=words)
    assert show(SEQ2SEQ, spans["input_ids"][0]) == "<extra_id_0> a <extra_id_1> <extra_id_2> </s>"
    expected = "<extra_id_0> new york city <extra_id_1> new york city <extra_id_2> new <extra_id_3>"
    assert show(SEQ2SEQ, spans["labels"][0]) == expected


def test_a_word_that_overlaps_itself_is_hidden_from_the_left():
    result = preprocessing.mask_words(encode(SEQ2SEQ, "a b a b a"), SEQ2SEQ, words_to_mask=["a b a"])
    assert show(SEQ2SEQ, result["input_ids"][0]) == "<extra_id_0> b a </s>"


def test_labels_that_are_given_stay():
    labels = np.array([[7, 8]])
    for name, kwargs in [("mask_random_spans", {}), ("mask_words", {"words_to_mask": "a"}), ("identity", {})]:
        function = getattr(preprocessing, name)
        batch = {**encode(SEQ2SEQ, "a b c"), "labels": labels}
        assert call_preprocessing(function, batch, SEQ2SEQ, kwargs, rng=rng())["labels"] is labels


def test_functions_that_do_not_fit_the_tokenizer_say_so():
    for tokenizer, name in [(LM, "mask_random_tokens"), (MLM, "mask_random_spans"), (LM, "expand_with_masks")]:
        with pytest.raises(DataError, match="needs a tokenizer with"):
            call_preprocessing(getattr(preprocessing, name), encode(tokenizer, "a b"), tokenizer, {}, rng=rng())


KEYWORDS = {"mask_word_tokens": {"word_tokens_to_mask": ["a", "d"]}, "mask_words": {"words_to_mask": ["new york", "d"]}}
FOR_ALL, FOR_SPANS = ("identity",), ("mask_random_spans", "mask_truerandom_spans")
FOR_BOTH = ("expand_with_masks", "mask_word_tokens", "mask_words")
FITTING = {
    "lm": FOR_ALL,
    "mlm": (*FOR_ALL, *FOR_BOTH, "mask_random_tokens", "remove_non_mask_tokens_from_labels"),
    "seq2seq": (*FOR_ALL, *FOR_BOTH, *FOR_SPANS),
}


@pytest.mark.parametrize("kind", list(FITTING))
@pytest.mark.parametrize("name", FITTING["mlm"] + FOR_SPANS)
def test_each_function_for_each_kind_of_model(name, kind):
    """What is hidden and what is said about it are the text together; what a tokenizer cannot hide is refused."""
    tokenizer = {"lm": LM, "mlm": MLM, "seq2seq": SEQ2SEQ}[kind]
    batch = encode(tokenizer, "a b new york c d", "d a d")
    if name.startswith("remove"):
        batch["labels"] = batch["input_ids"]
    run = lambda: call_preprocessing(getattr(preprocessing, name), batch, tokenizer, KEYWORDS.get(name, {}), rng=rng())  # noqa: E731
    if name not in FITTING[kind]:
        with pytest.raises(DataError, match="needs a tokenizer with"):
            run()
        return
    made = run()
    rows = np.repeat([0, 1], made["expanded_lengths"][:2]) if "expanded_lengths" in made else [0, 1]
    for number, row in enumerate(rows):
        text = batch["input_ids"][row][batch["attention_mask"][row] == 1].tolist()
        inputs, labels = made["input_ids"][number], made["labels"][number]
        if kind == "seq2seq" and name != "identity":
            assert merge_spans(tokenizer, inputs, labels) == text
        else:
            both = np.where(labels != -100, labels, inputs)
            assert both[: len(text)].tolist() == text and (labels[len(text) :] == -100).all()
            wanted = len(text) if name == "identity" else (inputs == tokenizer.mask_token_id).sum()
            assert (labels != -100).sum() >= wanted


def test_too_many_spans_for_the_sentinels():
    batch = encode(SEQ2SEQ, " ".join("ab" * 30))
    with pytest.raises(DataError, match="a text has 30 spans to hide, the tokenizer 20 sentinels"):
        preprocessing.mask_word_tokens(batch, SEQ2SEQ, word_tokens_to_mask="a")


def test_a_model_that_is_both_is_asked():
    class Model:
        class config:
            is_decoder = True

    kwargs = {"mask_fn": preprocessing.mask_random_tokens, "mask_fn_kwargs": {"mask_prop": 1.0}}
    function, batch = preprocessing.identity_if_decoder_mask_if_encoder, encode(MLM, "a b")
    shown = call_preprocessing(function, batch, MLM, kwargs, rng=rng(), model=Model)
    assert (shown["input_ids"] == batch["input_ids"]).all()
    Model.config.is_decoder = False
    hidden = call_preprocessing(function, batch, MLM, kwargs, rng=rng(), model=Model)
    assert (hidden["labels"] != -100).sum() == 2


def test_the_same_seed_hides_the_same():
    batch = encode(MLM, "a b c d e f", "a b c")
    first, second = (preprocessing.mask_random_tokens(batch, MLM, rng=rng(5)) for _ in range(2))
    assert (first["input_ids"] == second["input_ids"]).all()


def test_keywords_are_judged_before_anything_runs():
    own = ("inputs", "tokenizer", "rng", "model")
    problems = check_keywords(preprocessing.mask_random_tokens, {"mask_porp": 0.1}, "--kwargs", own)
    assert "did you mean 'mask_prop'" in str(problems[0])
    (missing,) = check_keywords(preprocessing.mask_words, {}, "--kwargs", own)
    assert "needs --kwargs.words_to_mask" in str(missing)


def test_new_tokens_are_seen(minilm_folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(minilm_folder)
    size = len(TokenRoles.of(tokenizer).special)
    tokenizer.add_tokens(["blick"])
    assert len(TokenRoles.of(tokenizer).special) == size + 1
    batch = {"input_ids": np.array([tokenizer("the blick sleeps")["input_ids"]])}
    result = preprocessing.mask_words(batch, tokenizer, words_to_mask=["blick"])
    assert tokenizer.decode(result["input_ids"][0]) == "[CLS] the [MASK] sleeps [SEP]"
