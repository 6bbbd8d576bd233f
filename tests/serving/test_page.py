"""The page at `/` in a browser: a text typed, its prediction seen, nothing wrong, nothing fetched from elsewhere."""

from __future__ import annotations

import re
import time

import pytest

from tests.page.browser import Browser, find_browser
from tests.serving.served import make_model, serving

pytestmark = pytest.mark.skipif(find_browser() is None, reason="no Chromium is installed")

SAID = "document.getElementById('status').textContent"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def predict(browser: Browser, url: str, text: str, **view: object) -> str:
    """Type a text, press the button, and read what the page shows."""
    browser.open(f"{url}/", **view)
    browser.evaluate("document.getElementById('text').focus()")
    browser.ask("Input.insertText", text=text)
    browser.evaluate("document.querySelector('button').click()")
    end = time.monotonic() + 60
    while not (said := browser.evaluate(SAID)):
        assert time.monotonic() < end, said
        time.sleep(0.05)
    return said


def assert_nothing_went_wrong(browser: Browser, url: str) -> None:
    urls = [event["request"]["url"] for event in browser.told("Network.requestWillBeSent")]
    assert urls and all(address.startswith((url, "data:")) for address in urls)
    wrong = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
    assert [event for name in wrong for event in browser.told(name)] == []


@pytest.mark.parametrize("width", [390, 1280])
def test_entities_are_marked_in_the_text_that_was_typed(browser, tiny_bert, tmp_path, width):
    text = "👍 Maria flew to เชียงใหม่ <b>today</b>"
    with serving(make_model(tiny_bert, "tagger", tmp_path / "tagger")) as service:
        said = predict(browser, service.url, text, width=width)
        (answer,) = service.post({"texts": [text]}).json()["predictions"]
        assert answer["entities"] and "1 predicted in" in said
        marks = browser.evaluate("[...document.querySelectorAll('#results mark')].map((m) => m.firstChild.textContent)")
        assert marks == [entity["text"] for entity in answer["entities"]]
        shown = browser.evaluate("document.querySelector('#results li').textContent")
        assert "<b>today</b>" in re.sub(r"(PER|LOC) \d\.\d\d", "", shown)
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert_nothing_went_wrong(browser, service.url)
        assert predict(browser, service.url, " ") == "Write a text first."


@pytest.mark.parametrize("head", ["pairs", "values", "several"])
def test_other_models_show_their_answers(browser, tiny_bert, tmp_path, head):
    with serving(make_model(tiny_bert, head, tmp_path / head)) as service:
        said = predict(browser, service.url, "A first text\tand a second\nAnother\tone", dark=True)
        assert "2 predicted in" in said
        rows = browser.evaluate("[...document.querySelectorAll('#results > li')].map((row) => row.textContent)")
        assert len(rows) == 2
        if head == "values":
            body = {"texts": ["A first text\tand a second"]}
            value = service.post(body).json()["predictions"][0]["value"]
            assert str(value) in rows[0]
        else:
            assert all(label in rows[0] for label in ("bad", "fine", "good"))
        assert_nothing_went_wrong(browser, service.url)
