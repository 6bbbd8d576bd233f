from __future__ import annotations

import ast
import json
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import accuracy_score, classification_report, f1_score, precision_score, recall_score
from seqeval.scheme import IOB2
from sklearn.metrics import classification_report as word_report

from finetune.encoding.tags import TagScheme
from finetune.report.files import write_metrics
from finetune.tagging.formats.choice import read_sentences
from finetune.tagging.formats.sentences import TagColumns
from finetune.tagging.legacy_files import write_legacy_predictions
from finetune.tagging.metrics import compare_tags, score_spans
from finetune.tagging.report import format_details, format_result, score_table, write_predictions, write_report
from finetune.tagging.summary import summarise_tagging

WORDS = [["นาย", " ", "สมชาย", "#1"], ["a\tb", "", "-DOCSTART-"], ["New York", "\u2028x", "C:\\new\\table"]]
EXPECTED = [["B-PER", "I-PER", "I-PER", "O"], ["O", "B-LOC", "O"], ["B-LOC", "O", "B-creative-work"]]
PREDICTED = [["B-PER", "I-PER", "O", "O"], ["O", "I-LOC", "O"], ["B-LOC", "B-PER", "B-PER"]]

tags = st.sampled_from(["O", "B-X", "I-X", "B-a-long-name-of-a-type", "I-a-long-name-of-a-type"])
corpora = st.lists(st.lists(st.tuples(tags, tags), min_size=1, max_size=8), min_size=1, max_size=4)


def sides(case):
    return ([[pair[side] for pair in row] for row in case] for side in (0, 1))


def read_conll(path):
    """An independent reader: sentences of (word, expected, predicted)."""
    sentences = [block.split("\n") for block in path.read_bytes().decode("utf-8").split("\n\n") if block]
    return [[tuple(line.split("\t")) for line in lines] for lines in sentences]


@given(corpora)
@settings(deadline=None)
def test_the_table_is_that_of_seqeval_to_the_letter(case):
    predicted, expected = sides(case)
    for strict in (False, True):
        scores = score_spans(compare_tags(predicted, expected), strict=strict)
        if scores.classes:
            options = {"mode": "strict", "scheme": IOB2} if strict else {}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert score_table(scores) == classification_report(expected, predicted, digits=4, **options)


@given(st.lists(st.tuples(*[st.sampled_from(["NOUN", "VERB", "a tag that is long"])] * 2), min_size=1, max_size=20))
@settings(deadline=None)
def test_the_table_of_words_is_that_of_scikit_learn_to_the_letter(pairs):
    pairs = [*pairs, ("NOUN", "NOUN")]  # with no word right at all scikit-learn writes its supports as 1.0
    predicted, expected = [p for p, _ in pairs], [e for _, e in pairs]
    summary = summarise_tagging(compare_tags([predicted], [expected], TagScheme.POS))
    assert score_table(summary.main) == word_report(expected, predicted, digits=4, zero_division=0)


def test_the_result_reads_as_the_document_shows_it():
    summary = summarise_tagging(compare_tags(PREDICTED, EXPECTED))
    first, blank, rest = format_result("test", summary).split("\n", 2)
    assert (first, blank) == ("Processed: 3 / 3 [ Test Result ]", "")
    figures, table = rest.split("\n\n", 1)
    assert list(ast.literal_eval(figures)) == [
        "accuracy",
        "f1_macro",
        "f1_micro",
        "nb_samples",
        "precision_macro",
        "precision_micro",
        "recall_macro",
        "recall_micro",
    ]
    assert figures.startswith("{'accuracy': 0.6,\n 'f1_macro': ")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert table == classification_report(EXPECTED, PREDICTED, digits=4)
    assert format_result("train", summary).startswith("Processed: 3 / 3 [ Train Result ]")
    assert format_result("validation", summary).startswith("Processed: 3 / 3 [ Val Result ]")


def test_details_name_the_reading_and_the_errors():
    details = format_details(summarise_tagging(compare_tags(PREDICTED, EXPECTED)))
    assert details.startswith("Scores above: entities of words, lenient")
    assert "mode='strict'" in details
    assert "right_border         1   25.0%" in details
    assert "creative-work -> PER 1" in details
    words = format_details(summarise_tagging(compare_tags([["NOUN"]], [["VERB"]], TagScheme.POS)))
    assert words.startswith("Scores above: single words (scikit-learn).")
    assert "VERB -> NOUN 1" in words


@pytest.mark.parametrize("scheme", [TagScheme.IOB2, TagScheme.BIOES])
def test_a_split_without_any_entity_has_a_report(scheme, tmp_path):
    summary = summarise_tagging(compare_tags([["O"], []], [["O"], []], scheme))
    assert "micro avg     0.0000" in write_report(tmp_path, {"test": summary}).read_text(encoding="utf-8")


def test_scores_recomputed_from_the_predictions_are_those_of_metrics_json(tmp_path):
    write_predictions(tmp_path, "test", WORDS, PREDICTED, EXPECTED)
    write_metrics(tmp_path, {"test": summarise_tagging(compare_tags(PREDICTED, EXPECTED)).as_dict()})
    rows = read_conll(tmp_path / "predictions.test.conll")
    assert [[word for word, _, _ in row] for row in rows] == [
        WORDS[0],
        ["a␉b", "␀", "-DOCSTART-"],
        WORDS[2],
    ]
    expected, predicted = ([[row[column] for row in sentence] for sentence in rows] for column in (1, 2))
    found = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))["test"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for reading, options in {"lenient": {}, "strict": {"mode": "strict", "scheme": IOB2}}.items():
            oracle = {"accuracy": accuracy_score(expected, predicted), "nb_samples": len(rows)}
            for average in ("micro", "macro"):
                oracle[f"f1_{average}"] = f1_score(expected, predicted, average=average, **options)
                oracle[f"precision_{average}"] = precision_score(expected, predicted, average=average, **options)
                oracle[f"recall_{average}"] = recall_score(expected, predicted, average=average, **options)
            classes = classification_report(expected, predicted, output_dict=True, **options)
            assert {key: found[reading][key] for key in oracle} == pytest.approx(oracle)
            assert {name: row["f1"] for name, row in found[reading]["classes"].items()} == pytest.approx(
                {name: row["f1-score"] for name, row in classes.items() if not name.endswith(" avg")}
            )
    assert {key: found[key] for key in oracle} == {key: found["lenient"][key] for key in oracle}
    assert found["strict"]["f1_micro"] < found["lenient"]["f1_micro"]
    assert {"expected": "LOC", "predicted": "LOC", "count": 2} in found["confusions"]


def test_predictions_without_expected_tags_have_two_columns(tmp_path):
    path = write_predictions(tmp_path, "test", [["a", "b"], ["c"]], [["O", "B-X"], ["O"]], None)
    assert path.read_bytes() == b"a\tO\nb\tB-X\n\nc\tO\n\n"


def test_the_report_holds_every_split_and_the_notes(tmp_path):
    summary = summarise_tagging(compare_tags(PREDICTED, EXPECTED))
    text = write_report(tmp_path, {"validation": summary, "test": summary}, notes=["2 words were cut."]).read_text(
        encoding="utf-8"
    )
    assert text.index("[ Val Result ]") < text.index("[ Test Result ]") < text.index("- 2 words were cut.")
    assert [path.name for path in tmp_path.iterdir()] == ["report.txt"]


def test_metrics_hold_no_value_that_is_not_json(tmp_path):
    path = write_metrics(tmp_path / "new", {"test": {"loss": float("nan"), "f1": 0.5}})
    assert json.loads(path.read_text(encoding="utf-8")) == {"test": {"loss": None, "f1": 0.5}}


TORN = st.text(st.sampled_from("ab \t\n\r\x0b\x0c\x1c\x85\u2028\u00a0é"), max_size=4)


@given(st.lists(st.lists(TORN, min_size=1, max_size=4), min_size=1, max_size=4))
def test_no_word_tears_a_file_of_one_word_a_line(tmp_path_factory, sentences):
    """Every word, a line end or nothing at all included, has its line."""
    folder = tmp_path_factory.mktemp("torn")
    true = [[f"word{4 * row + place}" for place in range(4)] for row in range(8)]
    sentences = [*sentences, *true]  # a column with few values throughout is refused as one of no words
    tags = [["O", "B-X", "I-X", "O"][: len(words)] for words in sentences]
    files = [
        write_predictions(folder, "test", sentences, tags, tags),
        write_legacy_predictions(folder / "test_predictions.txt", sentences, tags),
    ]
    for path in files:
        read = read_sentences(path, TagColumns())
        assert [len(words) for words in read.words] == [len(words) for words in sentences]
        assert read.tags == tags
        lines = path.read_bytes().decode("utf-8").split("\n")[:-1]
        assert len(lines) == sum(map(len, sentences)) + len(sentences)
