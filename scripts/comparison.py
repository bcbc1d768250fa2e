"""Makes docs/images/compare.png: `.venv/bin/python scripts/comparison.py`.

Runs `headwater compare` on the embedded model and on a tape, and shows its report to Chromium. What
the command prints is printed. Takes about two minutes; the picture is of that run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, Literal

from playwright.sync_api import sync_playwright

IMAGE: Final = Path(__file__).parents[1] / "docs" / "images" / "compare.png"
_COMMAND: Final = (
    "compare",
    "Why is the sky blue?",
    "--models",
    "smollm2-135m,tape/story",
    "--repeat",
    "5",
    "--warm-up",
)
_CHROMIUM: Final = os.environ.get("CHROMIUM", "/usr/bin/chromium")


def photograph(page: Path, image: Path, scheme: Literal["light", "dark"] = "light") -> list[str]:
    """A picture of a page in a file; gives what Chromium complained of."""
    complaints: list[str] = []
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=arguments)
        tab = browser.new_page(
            viewport={"width": 1040, "height": 400}, color_scheme=scheme, device_scale_factor=1.5
        )
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("request", lambda asked: complaints.append(asked.url))
        tab.goto(page.as_uri())
        tab.screenshot(path=image, full_page=True)
        browser.close()
    return [said for said in complaints if said != page.as_uri()]


def main() -> None:
    """Ask, and take the picture."""
    headwater = Path(sys.executable).with_name("headwater")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        subprocess.run([headwater, *_COMMAND, "--html", page], check=True, cwd=folder)  # noqa: S603
        photograph(page, IMAGE)
    print(IMAGE)


if __name__ == "__main__":
    main()
