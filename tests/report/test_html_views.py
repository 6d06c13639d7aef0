"""The page of a report in a real browser: what is shown, sorted, opened and saved, on a desk, a phone and on paper."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import html_browser
import html_pages
import pytest
from html_browser import CONTRAST, Browser
from html_pages import HOSTILE

from harness.report import html
from harness.report.document import Source
from harness.report.html import run_data, text

DESK, PHONE = (1280, 900), (360, 740)
PLUS_MINUS = "\u00b1"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = html_browser.find()
    if program is None:
        pytest.skip("no Chromium: install chromium-headless-shell, or name one in HARNESS_CHROMIUM")
    made = Browser(program, tmp_path_factory.mktemp("profile"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, sources: dict[str, Source]) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_data, "examples", html_pages.hostile_examples)
        found = html.page(html_pages.make_report(sources))
    file = tmp_path_factory.mktemp("page") / "index.html"
    file.write_text(found, encoding="utf-8", newline="\n")
    return file


@pytest.fixture
def page(browser: Browser, path: Path) -> Browser:
    """The report, newly opened on a desk in light colours."""
    browser.size(*DESK)
    browser.scheme("light")
    browser.open(path)
    browser.js("localStorage.clear()")
    return browser


def column(page: Browser, table: str, number: int) -> list[str]:
    return page.js(f"[...document.querySelectorAll('#{table} tbody tr')].map((r) => r.cells[{number}].textContent)")


def header(table: str, number: int) -> str:
    return f"#{table} thead th:nth-child({number + 1}) button"


def a_run(page: Browser, strategy: str = "mixer") -> str:
    return page.js(
        "[...document.querySelectorAll('script[data-run]')].map((s) => s.dataset.run)"
        f".find((key) => key.startsWith('run/small/{strategy}'))"
    )


def test_nothing_is_fetched_and_nothing_complains(page: Browser, path: Path) -> None:
    key = a_run(page)
    for fragment in ("", key, "run/", "run/no/such", "mixed"):
        page.open(path, fragment)
        page.settle()
        assert page.problems == []
        assert [url.partition("#")[0] for url in page.requests if not url.startswith("data:")] == [path.as_uri()]
        assert page.js("window.broken === undefined")


def test_the_policy_holds(page: Browser) -> None:
    assert page.js("fetch('https://example.invalid/').then(() => 'sent', (error) => error.name)") == "TypeError"
    assert any("Content Security Policy" in problem for problem in page.problems)
    with pytest.raises(RuntimeError, match="TrustedHTML"):
        page.js("document.body.innerHTML = '<b>x</b>'")
    page.js("document.body.append(Object.assign(document.createElement('style'), {textContent: 'body{display:none}'}))")
    assert page.js("getComputedStyle(document.body).display") == "block"
    assert not [url for url in page.requests if url.startswith("http")]


@pytest.mark.parametrize(
    ("number", "descending"),
    [
        (1, ["run-c", "run-b", "run-a"]),
        (2, ["run-b", "run-c", "run-a"]),
        (3, ["run-c", "run-a", "run-b"]),
        (4, ["run-b", "run-c", "run-a"]),
        (5, ["run-c", "run-b", "run-a"]),
        (6, ["run-c", "run-b", "run-a"]),
    ],
)
def test_numbers_are_sorted_with_missing_ones_last(page: Browser, number: int, descending: list[str]) -> None:
    names = {"run-a": "run10", "run-b": "run2", "run-c": "Run1"}
    original = column(page, "mixed", 0)
    state = f"document.querySelector('#mixed thead th:nth-child({number + 1})').getAttribute('aria-sort')"
    assert page.js(state) is None
    for wanted, order in (("descending", descending), ("ascending", descending[::-1])):
        page.click(header("mixed", number))
        assert page.js(state) == wanted
        assert column(page, "mixed", 0) == [*(names[name] for name in order), "run9"]
        assert column(page, "mixed", number)[-1] == "-"
    page.click(header("mixed", number))
    assert page.js(state) is None and column(page, "mixed", 0) == original


def test_texts_are_sorted_from_a_with_their_numbers(page: Browser) -> None:
    page.click(header("mixed", 0))
    assert column(page, "mixed", 0) == ["Run1", "run2", "run9", "run10"]
    page.click(header("mixed", 3))
    assert page.js("document.querySelectorAll('#mixed [aria-sort]').length") == 1


def test_the_keyboard_sorts(page: Browser) -> None:
    page.js(f"document.querySelector('{header('mixed', 1)}').focus()")
    page.press("Enter")
    assert column(page, "mixed", 0)[0] == "Run1"
    page.press(" ")
    assert column(page, "mixed", 0)[0] == "run10"


def test_cells_read_as_in_the_other_forms(page: Browser) -> None:
    assert column(page, "mixed", 1) == [f"9.5 {PLUS_MINUS} 2.0", "-", f"61.0 {PLUS_MINUS} 3.0\u2020", "61.0"]
    assert column(page, "mixed", 6) == ["9.5 [2.0, 20.0]", "-", "61.0 [50.0, 70.0]", "100.0 [90.0, 100.0]"]


def test_the_first_column_stays(page: Browser) -> None:
    page.size(*PHONE, phone=True)
    place = "document.querySelector('#wide tbody th').getBoundingClientRect().left"
    before = page.js(place)
    page.js("document.querySelector('#wide .scroll').scrollLeft = 900")
    page.settle()
    assert page.js("document.querySelector('#wide .scroll').scrollLeft") == 900
    assert page.js(place) == pytest.approx(before, abs=1)


def test_csv_and_pictures_are_saved(page: Browser) -> None:
    page.js("URL.createObjectURL = (blob) => { window.saved = blob; return 'data:,'; }")
    page.js("HTMLAnchorElement.prototype.click = function () { window.link = this.download; }")
    page.click("#mixed .tools button")
    wanted = page.js("JSON.parse(document.querySelector('script[data-csv=\"mixed.csv\"]').textContent)")
    assert page.js("window.saved.text()") == wanted and page.js("window.link") == "mixed.csv"
    assert wanted.startswith("forced,") and "\nyes," in wanted
    labels = page.js("[...document.querySelectorAll('#drawing .tools button')].map((b) => b.textContent)")
    assert labels == ["SVG", "PNG"]
    page.js("window.saved = null")
    page.click("#drawing .tools button:nth-child(2)")
    size = "(async () => { while (!window.saved) await new Promise((go) => setTimeout(go, 20));"
    size += " const p = await createImageBitmap(window.saved); return [p.width, p.height, window.saved.type]; })()"
    assert page.js(size) == [1600, 1068, "image/png"] and page.js("window.link") == "drawing.png"
    page.click("#drawing .tools button:nth-child(1)")
    assert page.js("window.link") == "drawing.svg"


def test_pictures_are_shown_and_enlarged(page: Browser) -> None:
    sizes = page.js(
        "Promise.all([...document.images].map(async (i) => { await i.decode(); return [i.naturalWidth, i.width]; }))"
    )
    assert len(sizes) == 2 and all(natural > 0 and shown > 0 for natural, shown in sizes)
    page.click("#drawing img")
    assert page.js("document.querySelector('dialog').open") and page.js("document.activeElement.textContent") == "Close"
    assert page.js("document.querySelector('dialog img').alt") == "A blue disc."
    page.press("Escape")
    assert page.js("document.querySelector('dialog')") is None
    assert page.js("document.activeElement.contains(document.querySelector('#drawing img'))")
    page.press("Enter")
    page.click("dialog img")
    assert page.js("document.querySelector('dialog img').className") == "larger"


def test_a_run_is_opened_from_the_list_and_left_again(page: Browser) -> None:
    key = a_run(page)
    page.click(f'.runs a[href="#{key}"]')
    page.settle()
    assert page.js("location.hash") == f"#{key}"
    assert page.js("document.getElementById('page:report').checkVisibility()") is False
    assert page.js("document.activeElement.tagName") == "H1" and page.js("scrollY") == 0
    assert page.js("document.title").startswith("mixer, seed ")
    page.click(".crumbs a")
    page.settle()
    assert page.js("document.getElementById('page:report').checkVisibility()")
    assert page.js("document.activeElement.getAttribute('href')") == f"#{key}"
    box = f"document.getElementById('{key}').getBoundingClientRect()"
    assert 0 < page.js(f"{box}.top") < DESK[1]
    assert page.js("document.title").startswith("A report of")


def test_the_browser_s_back_returns_to_the_place_that_was_left(page: Browser) -> None:
    key = a_run(page)
    page.js("document.querySelector('#hostile').scrollIntoView({behavior: 'instant'})")
    page.settle()
    place = page.js("scrollY")
    page.js(f"document.querySelector('.runs a[href=\"#{key}\"]').click()")
    page.settle()
    page.js("history.back()")
    page.settle()
    page.settle()
    assert page.js("document.getElementById('page:report').checkVisibility()")
    assert page.js("scrollY") == pytest.approx(place, abs=2)


def test_the_page_of_a_run(page: Browser, path: Path, sources: dict[str, Source]) -> None:
    page.open(path, a_run(page))
    row = next(row for row in sources["small"].comparison.rows if row.name == "mixer")
    run = row.runs[0]
    heads = page.js(
        "[...document.querySelectorAll('main h2')].filter((h) => h.checkVisibility()).map((h) => h.textContent)"
    )
    assert heads == ["Curves", "Scores", "Sample responses", "Cost", "Configuration"]
    charts = page.js("[...document.querySelectorAll('.chart h3')].map((h) => h.firstChild.data.trim())")
    assert charts == [
        "Score", "Training reward", "KL to the start policy", "Entropy", "Response length", "Mixing weight"
    ]  # fmt: skip
    legend = page.js("[...document.querySelectorAll('.chart:last-child .legend li')].map((l) => l.textContent)")
    last = run.metrics.iloc[-1]
    for shown, name in zip(legend, ("mu", "mu_raw", "prior", "effective_mix"), strict=True):
        label, value = shown.rsplit(" ", 1)
        assert label == name.replace("_", " ") and float(value) == pytest.approx(last[name], rel=6e-3)
    points = page.js("document.querySelector('.chart:nth-child(2) polyline').getAttribute('points')").split()
    assert len(points) == len(run.metrics)
    changed = page.js("[...document.querySelectorAll('.settings .changed dt')].map((d) => d.textContent)")
    assert set(changed) >= {"model", "limit", "temperature"} and "seed" not in changed
    assert page.js("document.querySelector('.settings .changed .usual').textContent").startswith("default: ")
    seeds = page.js("[...document.querySelectorAll('.seeds a')].map((a) => a.textContent)")
    assert seeds == ["0", "1", "2"]
    page.click(".seeds a:nth-child(2)")
    page.settle()
    assert page.js("document.querySelector('article:not([hidden]) h1').textContent") == f"{row.label}, seed 1"


def test_samples_are_shown_as_texts(page: Browser, path: Path) -> None:
    page.open(path, a_run(page))
    shown = page.js(
        "[...document.querySelectorAll('.sample')].map((s) => [...s.querySelectorAll('pre')].map((p) => p.textContent))"
    )
    assert shown[0] == [text.visible(HOSTILE)] * 3
    assert len(shown[1]) == 2 and "characters left out" in shown[1][1] and shown[1][1].endswith("bbb")
    assert shown[2] == ["prompt", "(empty)", "42"]
    assert shown[3] == ["\n\n  two\tlines\n"]
    verdicts = page.js("[...document.querySelectorAll('.verdict')].map((v) => v.className)")
    assert verdicts == ["verdict", *["verdict pass"] * 3]
    assert page.js("document.querySelectorAll('.sample script, .sample img').length") == 0


def test_one_cursor_for_all_curves(page: Browser, path: Path, sources: dict[str, Source]) -> None:
    page.open(path, a_run(page))
    run = next(row for row in sources["small"].comparison.rows if row.name == "mixer").runs[0]
    value = "Number(document.querySelector('.chart:nth-child({}) .legend b').textContent)"
    page.js("document.querySelector('.chart:nth-child(2) > svg').focus()")
    for _ in range(4):
        page.press("ArrowLeft")
    step = run.metrics.index[-1] - 4
    assert page.js(value.format(2)) == pytest.approx(run.metrics.loc[step, "reward"], rel=6e-3)
    assert page.js(value.format(4)) == pytest.approx(run.metrics.loc[step, "entropy"], rel=6e-3)
    page.js("document.activeElement.blur()")
    assert page.js(value.format(2)) == pytest.approx(run.metrics["reward"].iloc[-1], rel=6e-3)


def test_the_list_of_runs_is_filtered(page: Browser) -> None:
    shown = "[...document.querySelectorAll('.runs tbody tr')].filter((r) => !r.hidden).map((r) => r.textContent)"
    everything = page.js(shown)
    page.click(".filter input")
    for letter in "Mixer noisy":
        page.press(letter)
    found = page.js(shown)
    assert found == [row for row in everything if "mixer" in row and "noisy" in row] and 0 < len(found) < len(
        everything
    )
    assert page.js("document.querySelector('.filter output').textContent") == f"{len(found)} of {len(everything)} runs"


@pytest.mark.parametrize("fragment", ["", "run"])
def test_a_phone_scrolls_in_one_direction_only(page: Browser, path: Path, fragment: str) -> None:
    key = a_run(page) if fragment else ""
    page.size(*PHONE, phone=True)
    page.open(path, key)
    page.settle()
    assert page.js("[document.documentElement.scrollWidth, innerWidth]") == [PHONE[0], PHONE[0]]
    small = "[...document.querySelectorAll('main p, main td, main li')].filter((n) => n.checkVisibility())"
    assert page.js(f"Math.min(...{small}.map((n) => parseFloat(getComputedStyle(n).fontSize)))") >= 12
    if not fragment:
        assert page.js("document.querySelector('#wide .scroll').scrollWidth > innerWidth")
        assert page.js("document.querySelector('.contents details').open") is False


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("fragment", ["", "run"])
def test_contrast(page: Browser, path: Path, scheme: str, fragment: str) -> None:
    key = a_run(page) if fragment else ""
    page.scheme(scheme)
    page.open(path, key)
    page.settle()
    found: dict[str, Any] = page.js(CONTRAST)
    assert found["seen"] > 100 and found["bad"] == []


def test_colours_follow_the_system_unless_chosen(page: Browser, path: Path) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.js(ground)
    page.scheme("dark")
    dark = page.js(ground)
    assert dark != light
    page.click(".bar .tools button")
    assert page.js(ground) == light
    page.open(path)
    assert page.js(ground) == light  # it is remembered
    page.click(".bar .tools button")
    page.scheme("light")
    assert page.js(ground) == dark
    page.click(".bar .tools button")
    assert page.js(ground) == light


def test_on_paper(page: Browser) -> None:
    page.scheme("dark", media="print")
    assert page.js("getComputedStyle(document.querySelector('.bar')).display") == "none"
    assert page.js("getComputedStyle(document.querySelector('#wide .scroll')).overflowX") == "visible"
    assert page.js("getComputedStyle(document.querySelector('#wide .scroll')).maxHeight") == "none"
    assert page.js("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_without_javascript_the_report_is_whole(browser: Browser, path: Path) -> None:
    browser.size(*PHONE, phone=True)
    browser.scheme("light")
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(path)
        tables = browser.js("[...document.querySelectorAll('table')].map((t) => t.checkVisibility())")
        images = browser.js("[...document.images].map((i) => i.checkVisibility() && i.naturalWidth > 0)")
        assert tables == [True] * 4 and images == [True] * 2
        assert browser.js("document.querySelectorAll('.runs tbody tr').length") == 27
        assert browser.js("document.querySelector('.contents li').checkVisibility()")
        assert browser.js("document.querySelectorAll('button').length") == 0
        assert browser.js("document.documentElement.scrollWidth") == PHONE[0]
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
