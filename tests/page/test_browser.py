"""The pages in a browser: nothing goes wrong or out, tables sort and filter, phones and the dark are served."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetune.page.building import write_page
from finetune.page.folder import RunFolder
from finetune.repeat.arguments import RepeatArguments
from finetune.repeat.report import Scored, write_repeat
from finetune.repeat.spread import Finished, spread_classes, spread_scores
from tests.page.browser import Browser, find_browser
from tests.page.pages import Page
from tests.page.test_tables import write

pytestmark = pytest.mark.skipif(find_browser() is None, reason="no Chromium is installed")

TYPES = [f"TYPE{n:02}" for n in range(14)] + ["A_TYPE_WITH_A_LONG_NAME" * 3, "สถานที่"]
LONG = "https://example.org/" + "unbroken" * 20
PHONE, DESKTOP = 390, 1280
LOOK = (Path(__file__).parent / "looking.js").read_text(encoding="utf-8")


def write_run(folder: Path, shift: int = 0) -> Path:
    """A tagger's folder with all that its page can show, and texts that are hard to place."""
    folder.mkdir(parents=True)
    rows = []
    for n in range(60):
        kind, said = TYPES[n % len(TYPES)], TYPES[(n + (n % 5 == shift)) % len(TYPES)]
        rows.append(f"Mira\tO\tO\n{LONG if n % 5 == 0 else 'Oslo'}\tB-{kind}\tB-{said}\n<b>เชียงใหม่\tO\tB-{kind}\n")
    (folder / "predictions.test.conll").write_text("\n".join(rows), encoding="utf-8")
    classes = {t: {"precision": n / 16, "recall": 1 - n / 32, "f1": (n * 7 + shift) % 16 / 16, "support": n * 300}
               for n, t in enumerate(TYPES)}  # fmt: skip
    confusions = [{"expected": t, "predicted": TYPES[n // 2], "count": n + 1} for n, t in enumerate(TYPES)]
    errors = {"exact": 40, "type": 12, "missed": 1, "spurious": 60}
    scores = {"f1_micro": 0.75 + shift / 100, "accuracy": 0.5, "nb_samples": 60}
    test = {**scores, "lenient": {"classes": classes}, "span_errors": errors, "confusions": confusions}
    log = [
        {"step": n, "loss": 3 / n, "eval_loss": 2 + n / 9, "eval_f1": n / 20, "learning_rate": 1e-5}
        for n in range(1, 15)
    ]
    labels = {"O": 900, **{f"B-{t}": 10 + n for n, t in enumerate(TYPES)}}
    summary = {"examples": 60, "lengths": {"5": 40, "9": 20}, "labels": labels}
    files = {
        "metrics.json": {"test": test},
        "training_history.json": {"log": log},
        "data_summary.json": dict.fromkeys(("train", "test"), summary),
        "run.json": {
            **{"status": "done", "program": "run_ner.py", "result": {"test": scores}, "versions": {"torch": "2.13"}},
            "command": ["scripts/run_ner.py", "--model_name_or_path", f"/{LONG}", "--do_train"],
            "arguments": {f"argument_{n}": LONG if n == 3 else n + shift for n in range(20)},
            "inputs": {f"/data/{LONG}.txt": {"sha256": "ab" * 32}},
        },
    }  # fmt: skip
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory, run_command):
    """A page of each kind."""
    top = tmp_path_factory.mktemp("pages")
    runs = [write_run(top / f"run_{n}", n) for n in range(2)]
    write_page(runs[0])
    done = run_command("compare.py", *runs, "--output_dir", top, "--trials", 200)
    assert done.code == 0, done.stderr
    finished = [Finished(run.name, n, None, RunFolder(run)) for n, run in enumerate(runs)]
    options = RepeatArguments(command="run_ner", output_dir=str(top))
    write_repeat(top, finished, Scored(spread_scores(finished), spread_classes(finished)), options)
    files = {"report": runs[0] / "report.html", "compare": top / "comparison.html", "repeat": top / "repeat.html"}
    return files | {"tables": write_tables(top / "tables")}


def write_tables(folder: Path) -> Path:
    """The page of a folder with a search, surprisals and a classifier's predictions."""
    folder.mkdir()
    numbers = list(range(40))
    trials = {"number": numbers, "value": [3 + n % 7 for n in numbers], "state": ["COMPLETE"] * 40}
    searched = {"params_lr": [10.0 ** -(n % 5) for n in numbers], "params_optimizer": ["adam", "sgd" * 20] * 20}
    texts = {"item": numbers, "original_text": [f"{LONG} {n}" for n in numbers], "token": ["a"] * 40}
    bits = {"surprisal": [n % 9 + 0.5 for n in numbers], "condition": ["agree", LONG] * 20, "dataset_name": ["d"] * 40}
    write(folder / "optimization_results.csv.gz", {**trials, "epochs": [1] * 40, "seconds": [1.5] * 40, **searched})
    write(folder / "gpt2-test_results.csv.gz", {**texts, **bits})
    rows = [
        {"row": n, "text": f"{LONG} <i> {n}", "expected": "ab"[n % 2], "predicted": "ab"[n % 3 % 2],
         "probabilities": {"a": 0.9 - n / 50, "b": 0.1 + n / 50}} for n in numbers
    ]  # fmt: skip
    (folder / "predictions.test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "metrics.json").write_text('{"test": {"accuracy": 0.5, "nb_samples": 40}}')
    return write_page(folder)[0]


KINDS = pytest.mark.parametrize("kind", ["report", "compare", "repeat", "tables"])


def opened(browser: Browser, page: Path, **view) -> Browser:
    """The page with all that is folded open, as high as it is."""
    browser.open(page, height=12_000, **view)
    browser.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    return browser


@KINDS
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_nothing_goes_wrong_or_out_and_nothing_is_wider_than_the_window(browser, pages, kind, width):
    opened(browser, pages[kind], width=width)
    widths = "[innerWidth, document.documentElement.scrollWidth, document.body.scrollWidth <= innerWidth]"
    assert browser.evaluate(widths) == [width, width, True]
    urls = [event["request"]["url"] for event in browser.told("Network.requestWillBeSent")]
    assert urls == [pages[kind].as_uri()]
    wrong = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
    assert [event for name in wrong for event in browser.told(name)] == []


def test_the_page_of_tables_has_every_part(pages):
    page = Page(pages["tables"])
    found = {attributes["id"] for attributes in page.of("h2")}
    assert {"calibration", "worst", "surprisal-0", "trials"} <= found and "could not be made" not in page.text


def test_what_goes_wrong_or_out_is_noticed(browser, tmp_path):
    """The browser's own ears: without this, silence above would prove nothing."""
    page = tmp_path / "page.html"
    page.write_text(
        "<!doctype html><html lang=en><img src='http://finetune.invalid/a.png' alt=''><p style='width:900px;color:#999'>grey"
        "<script>console.error('no'); throw new Error('thrown')</script>"
    )
    browser.open(page, width=PHONE)
    assert "http://finetune.invalid/a.png" in [e["request"]["url"] for e in browser.told("Network.requestWillBeSent")]
    assert browser.told("Runtime.exceptionThrown") and browser.told("Runtime.consoleAPICalled")
    assert browser.evaluate("document.documentElement.scrollWidth > 390")
    assert [text for text, *_ in browser.evaluate(f"({LOOK})(4.5)")["found"]] == ["grey"]


@KINDS
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_every_text_can_be_read(browser, pages, kind, dark, width):
    opened(browser, pages[kind], width=width, dark=dark)
    paper = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(14, 17, 22)" if dark else "rgb(255, 255, 255)")
    looked = browser.evaluate(f"({LOOK})(4.5)")
    assert looked["found"] == [] and looked["seen"] > 50


TABLE = "[...document.querySelectorAll('table')].find((t) => t.caption.textContent === {caption!r})"
COLUMN = (
    "[...{table}.tBodies[0].rows].filter((r) => r.checkVisibility()).map((r) => r.cells[{column}].textContent.trim())"
)


def click(browser: Browser, element: str) -> None:
    """A real click in the middle of an element."""
    x, y = browser.evaluate(
        f"(() => {{ const e = {element}; e.scrollIntoView({{block: 'center', behavior: 'instant'}});"
        "const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
    )
    for kind in ("mousePressed", "mouseReleased"):
        browser.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


def test_a_click_on_a_heading_sorts_by_number_or_word(browser, pages):
    browser.open(pages["report"])
    table = TABLE.format(caption="Every class")
    for column, key in ((4, lambda cell: int(cell.replace(",", ""))), (3, float)):
        read = COLUMN.format(table=table, column=column)
        before = sorted(browser.evaluate(read), key=key)
        for wanted, said in ((before, "ascending"), (before[::-1], "descending")):
            click(browser, f"{table}.tHead.rows[0].cells[{column}].firstChild")
            assert browser.evaluate(read) == wanted
            assert browser.evaluate(f"{table}.tHead.rows[0].cells[{column}].ariaSort") == said
    click(browser, f"{table}.tHead.rows[0].cells[0].firstChild")
    assert browser.evaluate(COLUMN.format(table=table, column=0)) == [
        "A_TYPE_WITH_A_LONG_NAME" * 3,
        *TYPES[:14],
        TYPES[-1],
    ]


def test_typing_into_the_filter_leaves_rows_that_hold_it(browser, pages):
    browser.open(pages["report"])
    table = TABLE.format(caption="Every class")
    click(browser, f"{table}.closest('.table').querySelector('.filter input')")
    browser.ask("Input.insertText", text="type1")
    assert browser.evaluate(COLUMN.format(table=table, column=0)) == ["TYPE10", "TYPE11", "TYPE12", "TYPE13"]
    browser.ask("Input.insertText", text="no such")
    assert browser.evaluate(COLUMN.format(table=table, column=0)) == []
