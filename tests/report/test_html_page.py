"""The page of a report as a document: whole, safe, the same every time, and small. No browser is needed."""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import html_pages
import numpy as np
import pytest
from html_pages import HOSTILE, LONG, Document

from harness.compare_load import Run
from harness.pack import pack
from harness.report import html, writers
from harness.report.document import FigureBlock, Heading, Report, Source, TableBlock
from harness.report.html import figures, run_curves, run_data, run_tables, text
from harness.run_steps import Steps


@pytest.fixture(scope="module")
def page(sources: dict[str, Source]) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_data, "examples", html_pages.hostile_examples)
        return html.page(html_pages.make_report(sources))


@pytest.fixture(scope="module")
def document(page: str) -> Document:
    return Document(page)


def test_the_document_is_well_formed(page: str, document: Document) -> None:
    assert page.startswith("<!doctype html>\n<html lang=")
    assert len(document.ids) == len(set(document.ids))
    assert all(name and not re.search(r"\s", name) for name in document.ids)
    assert document.missing_targets() == []
    for _, attributes in document.elements:
        for name in (attributes.get("aria-labelledby") or "").split():
            assert name in document.ids


def test_headings_go_down_one_level_at_a_time(document: Document) -> None:
    levels = [int(tag[1]) for tag, _ in document.elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_every_image_is_embedded_and_says_what_it_shows(document: Document) -> None:
    images = document.all("img")
    assert [image["alt"] for image in images] == ["A blue disc.", text.visible(HOSTILE)]
    kinds = [image["src"].partition(";")[0] for image in images]
    assert kinds == ["data:image/svg+xml", "data:image/png"]
    assert b64decode(images[0]["src"].partition(",")[2]) == html_pages.svg()
    assert b64decode(images[1]["src"].partition(",")[2]) == html_pages.png()
    assert "What it shows." in document.text  # of the figure that has neither


def test_nothing_is_loaded_and_nothing_runs_but_the_page_s_own_script(document: Document) -> None:
    loading = {"src", "srcset", "data", "poster", "background", "action", "formaction"}
    for tag, attributes in document.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag
        for name in loading & attributes.keys():
            assert (attributes[name] or "").startswith("data:"), (tag, name)
    assert {link["href"].partition(",")[0] for link in document.all("link")} == {"data:image/svg+xml"}
    outside = {link["href"] for link in document.all("a") if not link["href"].startswith("#")}
    assert outside == {"https://example.org/a_(b)?c=1&d=2", 'https://a.example/"onclick="y'}
    programs = [one for one in document.all("script") if one.get("type") != "application/json"]
    assert programs == [{}]
    assert len(document.all("style")) == 1
    assert not {"iframe", "object", "embed", "base", "form"} & {tag for tag, _ in document.elements}


def test_the_policy_allows_the_page_s_own_style_and_script_only(document: Document) -> None:
    policy = document.all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]
    parts = dict(part.split(" ", 1) for part in policy.split("; "))
    (script,) = [raw for raw in document.raw["script"] if raw.startswith('"use strict"')]
    (style,) = document.raw["style"]
    for name, raw in (("script-src", script), ("style-src", style)):
        assert parts[name] == f"'sha256-{b64encode(sha256(raw.encode()).digest()).decode()}'"
    assert parts["default-src"] == "'none'" and parts["img-src"] == "data:"
    order = [tag for tag, _ in document.elements]
    assert order.index("meta") < order.index("style")


def test_hostile_texts_are_texts(page: str, document: Document) -> None:
    shown = text.visible(HOSTILE)
    assert document.text.count(shown) >= 10
    assert "\\u202egnp" in shown and "\\x00" in shown and "\\x1b" in shown and "\\ud800" in shown
    assert not set("\u202e\x00\x1b\ud800\u2028") & set(page)
    assert page.encode("utf-8").decode("utf-8") == page
    assert "<script>window.broken" not in page.replace("\\u003c", "").replace("&lt;", "")
    # links of other kinds than the web's stay the text that they are
    assert "[bad](javascript:alert(1))" in document.text and "[bad](data:text/html,x)" in document.text


def test_markdown_of_texts(document: Document, page: str) -> None:
    assert (
        "<p>A <em>soft</em>, a <strong>strong</strong> and <code>code</code> &lt;b&gt;word&lt;/b&gt;, <a href=" in page
    )
    assert text.inline("2 * 3 * 4") == "2 * 3 * 4"
    assert text.inline("`a*b` c*d*e *`f*`") == "<code>a*b</code> c*d*e *<code>f*</code>"
    assert text.inline("**a *b* c**") == "<strong>a <em>b</em> c</strong>"
    assert text.inline("[**t**](https://x.org)") == '<a href="https://x.org" rel="noopener"><strong>t</strong></a>'
    assert text.paragraphs("a\nb\n \n\nc") == "<p>a\nb</p>\n<p>c</p>\n"


def test_data_of_the_runs_are_json_with_every_run_once(document: Document, sources: dict[str, Source]) -> None:
    runs = [run for source in sources.values() for row in source.comparison.rows for run in row.runs]
    keys = [one["data-run"] for one in document.all("script") if "data-run" in one]
    assert len(keys) == len(set(keys)) == len({run.name for run in runs}) == len(runs)
    assert set(keys) <= set(document.ids)
    for raw in document.raw["script"]:
        assert "<" not in raw or raw.startswith('"use strict"')
    values = {one["id"]: one for one in (json.loads(raw) for raw in document.raw["script"] if raw.startswith('{"name'))}
    for run in runs:
        known = values[run.run_id]
        assert known["strategy"] == run.strategy and known["seed"] == run.seed
        assert known["spent"]["flops"] == run.cost["flops"]
        reward = next(chart for chart in known["charts"] if chart["title"] == "Training reward")["series"][0]
        assert known["axes"][reward["x"]] == list(run.metrics.index)
        assert reward["y"] == pytest.approx(list(run.metrics["reward"]), rel=1e-3)


def test_long_texts_are_shortened_in_the_middle(document: Document) -> None:
    (shared,) = [json.loads(raw) for raw in document.raw["script"] if raw.startswith('{"texts')]
    (found,) = [one for one in shared["texts"] if one.startswith("aaa")]
    assert len(found) < 2000 and found.endswith("bbb")
    left_out = int(re.search(r"\[\.\.\. ([0-9,]+) characters left out", found)[1].replace(",", ""))
    assert left_out + found.count("a" * 10) * 10 + found.count("b" * 10) * 10 == pytest.approx(len(LONG), abs=60)


def test_embedded_csv_files_are_those_of_the_folder(document: Document, sources: dict[str, Source]) -> None:
    report = html_pages.make_report(sources)
    tables = [replace(block, caption="") for block in report.blocks if isinstance(block, TableBlock)]
    files = writers.files(Report("", "", tables, sources))
    elements = [one for tag, one in document.elements if tag == "script"]
    found = {
        one["data-csv"]: json.loads(raw)
        for one, raw in zip(elements, document.raw["script"], strict=True)
        if "data-csv" in one
    }
    assert set(found) == {"mixed.csv", "wide.csv", "hostile.csv"}
    for name, content in found.items():
        assert files[f"tables/{name}"] == content.encode()


def test_equal_reports_give_equal_bytes(page: str, sources: dict[str, Source], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_data, "examples", html_pages.hostile_examples)
    assert html.page(html_pages.make_report(sources)) == page


def test_anchors_are_the_names_of_blocks(document: Document) -> None:
    assert {"mixed", "wide", "drawing", "pixels"} <= set(document.ids)
    assert {"main-result", "main-result-2", "below"} <= set(document.ids)
    assert text.anchors(["a", "a", "A"], [False, True, False]) == ["a-2", "a", "a-3"]


def test_a_report_without_runs_figures_and_notices() -> None:
    document = Document(html.page(Report("Small", "", [Heading("One")], {})))
    assert document.missing_targets() == [] and "run/" not in document.ids and "notice" not in document.text.lower()


def test_what_is_known_of_a_run(sources: dict[str, Source], study: Path, problem_means: Callable[..., dict]) -> None:
    run = next(row for row in sources["small"].comparison.rows if row.name == "mixer").runs[1]
    path = next((study / "small").glob(f"{run.run_id}"))
    means = {
        (suite, split): np.array(list(problem_means(path, suite, split).values()))
        for suite in ("arithmetic", "coding")
        for split in ("eval", "ood")
    }
    assert run_tables.mean_score(run) == pytest.approx(
        np.mean([means[s, "eval"].mean() for s in ("arithmetic", "coding")])
    )
    assert run_tables.mean_score(run, "ood") == pytest.approx(
        np.mean([means[s, "ood"].mean() for s in ("arithmetic", "coding")])
    )
    table = run_tables.scores(run)
    for row in table["rows"]:
        values = 100 * means[row[0], row[1]]
        cells = dict(zip(table["head"], row, strict=True))
        error = values.std(ddof=1) / len(values) ** 0.5
        assert cells["last avg@k"] == f"{values.mean():.1f} \u00b1 {error:.1f}" and cells["k"] == "4"
        assert cells["problems"] == str(len(values)) and cells["pass@k"] == f"{100 * (values >= 25 - 1e-9).mean():.1f}"
    cost = run_tables.cost(run)
    assert cost["head"][1:] == [f"at {at}% of the budget" for at in (0, 50, 100)] + ["after the last update"]
    assert ["flops", "0", "6.000e+09", "1.200e+10", "1.200e+10"] in cost["rows"]


def test_where_a_run_comes_from_is_the_same_in_its_pack(
    tmp_path: Path, write_run: Callable[..., Path], make_source: Callable[..., Source]
) -> None:
    path = write_run(tmp_path / "runs", "plain_rl", 0, 0.4, problems=6)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["provenance"] = {"commit": "c0ffee", "dirty": True, "packages": {"torch": "2"}, "cores": 2, "machine": "m"}
    manifest["attempts"] = [{"number": 1, "started": 86400.5}]
    (path / "manifest.json").write_text(json.dumps(manifest))
    pack([tmp_path / "runs"], tmp_path / "packs", wanted=0)
    pages = [
        Document(html.page(Report("x", "", [], {"main": make_source(tmp_path / place)}))) for place in ("runs", "packs")
    ]
    for page in pages:
        (shared,) = [json.loads(raw) for raw in page.raw["script"] if raw.startswith('{"texts')]
        (run,) = [json.loads(raw) for raw in page.raw["script"] if raw.startswith('{"name')]
        assert run["attempts"] == ["1970-01-02 00:00:00 UTC"]
        assert shared["origins"][run["origin"]] == [
            ["git commit", "c0ffee with local changes"], ["torch", "2"], ["cores", "2"], ["machine", "m"]
        ]  # fmt: skip


def test_scores_over_updates(sources: dict[str, Source]) -> None:
    run = sources["small"].comparison.rows[0].runs[0]
    chart = run_curves.charts(run, 100)[0]
    assert chart["x"] == "updates" and [series["name"] for series in chart["series"]] == [
        "mean of suites",
        "arithmetic",
        "coding",
    ]
    for series in chart["series"]:
        assert series["x"] == [0, 6, 12]
    first, *others = (np.array(series["y"]) for series in chart["series"])
    assert first == pytest.approx(np.mean(others, axis=0), rel=1e-3)


def test_long_curves_are_means_of_neighbours() -> None:
    steps, values = np.arange(1, 1001), np.arange(1000.0) ** 2
    x, y = run_curves._thinned(steps, values, 9)
    assert len(x) == len(y) == 112 and x[0] == 5.0 and x[-1] == 1000.0 and y[-1] == 999.0**2
    assert list(y[:111]) == [values[9 * i : 9 * i + 9].mean() for i in range(111)]
    whole = run_curves._thinned(steps, values, 1)
    assert np.array_equal(whole[0], steps) and np.array_equal(whole[1], values)


def test_runs_of_one_name_from_two_places_are_kept_apart(
    tmp_path: Path, write_run: Callable[..., Path], make_source: Callable[..., Source]
) -> None:
    for place in ("first", "second"):
        write_run(tmp_path / place, "plain_rl", 0, 0.4, problems=6 if place == "first" else 8)
    made = {place: make_source(tmp_path / place, place) for place in ("first", "second")}
    document = Document(html.page(Report("Two", "", [], {**made, "again": make_source(tmp_path / "first", "again")})))
    keys = [one["data-run"] for one in document.all("script") if "data-run" in one]
    assert len(keys) == 2 and keys[1] == keys[0] + "~" and document.missing_targets() == []


def test_large_drawings_become_pictures() -> None:
    def made(size: int, pixels: int) -> FigureBlock:
        return FigureBlock("x", "x", "", "x", {"svg": b"s" * size, "png": b"p" * pixels})

    kinds = [image.suffix for image in figures.chosen([made(1000, 10), made(figures.LARGEST_SVG + 1, 10)])]
    assert kinds == ["svg", "png"]
    many = figures.chosen([made(figures.LARGEST_SVG, 1000) for _ in range(40)])
    assert sum(len(image.content) for image in many) <= figures.ALL_FIGURES
    assert "svg" in {image.suffix for image in many}
    assert figures.chosen([FigureBlock("x", "x", "", "x", {"pdf": b"%"})]) == [None]


def test_four_hundred_runs_take_less_than_ten_megabytes(
    sources: dict[str, Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = sources["small"].comparison.rows[0].runs[0]
    rng = np.random.default_rng(0)
    keys = ("reward", "kl", "entropy", "response_length", "mu", "mu_raw", "prior", "effective_mix")
    made = []
    for number in range(400):
        metrics = Steps(np.arange(1, 401), {key: rng.normal(size=400) for key in keys})
        name = f"strategy-1m-s{number}-{number:08x}"
        steps = (metrics, one.steps[1])
        made.append(Run("large", name, {**one.spec, "seed": number}, one.evaluations, steps=lambda steps=steps: steps))
    comparison = sources["small"].comparison
    row = type(comparison.rows[0])(label="x", strategy="x", settings={}, runs=made)
    source = Source("main", "main", type(comparison)([row], comparison.suites, None, 0.95, [], []))

    def long_examples(run: Run, wanted: int) -> list:
        found = hostile = html_pages.hostile_examples(run, 2)
        while len(found) < wanted:
            found = [*found, hostile[1]]
        return [type(e)(**{**vars(e), "response": f"{run.seed} {i}" + LONG}) for i, e in enumerate(found[:wanted])]

    monkeypatch.setattr(run_data, "examples", long_examples)
    drawings = [FigureBlock(f"f{i}", "f", "", "f", {"svg": b"s" * 299_000, "png": b"p" * 150_000}) for i in range(30)]
    found = html.page(Report("Large", "", drawings, {"main": source}))
    assert len(found.encode()) < 10_000_000
    assert found.count("data-run=") == 400
