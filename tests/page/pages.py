"""Pages as a test reads them: every element with its attributes, tags counted, what would be fetched."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "input", "br", "hr", "img", "link"}
FETCHING = ("src", "href", "xlink:href", "action", "data", "poster", "srcset")


class Page(HTMLParser):
    """`elements` are (tag, attributes), `text` stands outside of style and script, `wrong` says what is not balanced."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text, self.wrong, self._open = "", [], []
        self.feed(self.source)
        self.close()
        self.wrong += [f"{tag} is never closed" for tag in self._open]

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, {name: value or "" for name, value in attributes}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, {name: value or "" for name, value in attributes}))

    def handle_endtag(self, tag):
        if not self._open or self._open[-1] != tag:
            self.wrong.append(f"</{tag}> closes {self._open[-1:]}")
        else:
            self._open.pop()

    def handle_data(self, data):
        if not {"style", "script"} & set(self._open):
            self.text += data

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def links(self) -> list[str]:
        return [value for _, attributes in self.elements for name, value in attributes.items() if name in FETCHING]


def assert_is_whole(page: Page) -> None:
    """Balanced, asking for nothing outside, every plot described, every id there once and every link to one of them."""
    assert page.wrong == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all(link.startswith("#") and link[1:] in ids for link in page.links())
    assert "@import" not in page.source and "url(http" not in page.source
    assert all(svg["role"] == "img" and len(svg["aria-label"]) > 20 for svg in page.of("svg"))
    assert all("alt" in image for image in page.of("img"))
    assert page.of("html")[0]["lang"] == "en" and len(page.of("h1")) == 1
    assert all(table_has_caption for table_has_caption in [len(page.of("caption")) == len(page.of("table"))])
