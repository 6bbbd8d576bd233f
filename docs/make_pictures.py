"""Pictures of a page as browsers show it: `python docs/make_pictures.py demo_output` draws report.html for docs/.

Desktop, phone and dark, each as one PNG of the page's first screen (`--whole`: of all of it). Chromium is needed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.page.browser import Browser, BrowserError

VIEWS = {"desktop": (1280, 1470, False), "phone": (390, 844, False), "dark": (1280, 1470, True)}
HIGHEST = 16_000  # pixels; what the browser draws at once


def draw_views(page: Path, folder: Path, *, whole: bool) -> list[Path]:
    """Write a PNG of each view; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with tempfile.TemporaryDirectory() as profile, Browser(Path(profile)) as browser:
        for name, (width, height, dark) in VIEWS.items():
            browser.open(page, width=width, height=height, dark=dark)
            if whole:
                found = browser.evaluate("document.documentElement.scrollHeight")
                browser.open(page, width=width, height=min(found, HIGHEST), dark=dark)
            path = folder / f"{page.stem}_{name}.png"
            path.write_bytes(browser.picture())
            written.append(path)
    return written


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, help="an output folder (its report.html) or a page")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/pictures"))
    parser.add_argument("--whole", action="store_true", help="the whole page instead of its first screen")
    options = parser.parse_args()
    page = options.page / "report.html" if options.page.is_dir() else options.page
    if not page.is_file():
        parser.error(f"{page}: there is no such page; `finetune report FOLDER` makes that of a run")
    try:
        for path in draw_views(page, options.output_dir, whole=options.whole):
            print(path)
    except BrowserError as error:
        print(f"{error} Nothing more was drawn.", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
