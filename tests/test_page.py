"""The report page in a real browser, and its figures against the numbers they are drawn from."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from browser import Browser, find_browser

from mixlang.report.results import Results
from mixlang.report.svg import COLOURS, Chart, share_bars
from mixlang.report.transfer import transfer_section
from mixlang.words import signed


@pytest.fixture(scope="module")
def page(finished):
    return finished / "registry" / "small" / "v1" / "report.html"


@pytest.fixture(scope="module")
def build(finished):
    return finished / "build" / "small"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    executable = find_browser()
    if executable is None:
        pytest.skip("SKIPPED FOR LACK OF A BROWSER: no Chromium on the path; install one or set MIXLANG_BROWSER")
    opened = Browser(executable, tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


class Source(HTMLParser):
    """What a page holds and what it would fetch."""

    def __init__(self):
        super().__init__()
        self.tags, self.links, self.labels, self.anchors, self.headings = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        found = dict(attrs)
        self.links += [value for name, value in attrs if name in ("src", "href") and not value.startswith("#")]
        self.anchors += [value[1:] for name, value in attrs if name == "href" and value.startswith("#")]
        if tag == "svg" and "aria-hidden" not in found:
            self.labels.append(found.get("aria-label"))
        if tag == "h2":
            self.headings.append(found["id"])


def test_the_page_is_one_file_that_says_what_was_measured(page, build):
    text = page.read_text()
    source = Source()
    source.feed(text)
    pictures = [link for link in source.links if link.startswith("data:image/png;base64,")]
    assert source.links == pictures
    assert len(pictures) == 6
    assert "http" not in text
    assert len(source.labels) >= 10
    assert all(source.labels)
    assert source.anchors == source.headings  # the table of contents
    assert {"answer", "allocation", "certificate", "data", "provenance", "reproduce"} <= set(source.headings)
    assert len(text) < 5_000_000
    verification = json.loads((build / "verification.json").read_text())
    change = verification["improvements"]["1280"]["proportional"]["overall"]["mean"]
    assert f"<b>{signed(change)}</b> from proportional sampling" in text
    assert "small@v1" in text
    for picture in pictures:
        text = text.replace(picture, "")
    assert not re.search(r"\bnan\b", text, re.I)


# In a browser


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_the_page_is_whole_readable_and_accessible(browser, page, width, dark):
    axe_core = pytest.importorskip("axe_core_python", reason="SKIPPED FOR LACK OF AXE: pip install axe-core-python")
    browser.open(page, width, dark)
    assert browser.complaints() == []
    assert browser.run("document.documentElement.scrollWidth") == width
    drawn = browser.run(
        "[...document.querySelectorAll('svg[role=img], img')].map(one => one.getBoundingClientRect().width)"
    )
    assert len(drawn) >= 14
    assert min(drawn) > 100
    small = "[...document.querySelectorAll('p, td, th, li, code')].filter(one => parseFloat(getComputedStyle(one).fontSize) < 12)"
    assert browser.run(f"{small}.length") == 0
    shrunk = "svg => svg.viewBox.baseVal.width && svg.getBoundingClientRect().width < 0.95 * svg.viewBox.baseVal.width"
    assert browser.run(f"[...document.querySelectorAll('svg[role=img]')].filter({shrunk}).length") == 0
    background = browser.run("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(20, 24, 31)" if dark else "rgb(255, 255, 255)")
    browser.run((Path(axe_core.__file__).parent / "axe.min.js").read_text() + ";0")
    found = browser.run(
        "axe.run().then(found => found.violations.map(one => [one.id, one.nodes.map(node => node.html)]))"
    )
    assert found == []


def test_tables_can_be_sorted_and_need_no_script(browser, page):
    browser.open(page, 1400)
    column = (
        "(() => {{ const table = document.querySelector('#allocation').parentElement.querySelector('table');"
        " const head = table.tHead.rows[0].cells[{0}]; head.querySelector('button').click();"
        " return [head.ariaSort, [...table.tBodies[0].rows].map(row => row.cells[{0}].textContent)] }})()"
    )
    order, cells = browser.run(column.format(1))
    values = [float(cell) for cell in cells if cell]
    assert order == "ascending"
    assert values == sorted(values)
    assert cells[-1] == ""  # what has no number comes last
    order, cells = browser.run(column.format(1))
    values = [float(cell) for cell in cells if cell]
    assert (order, values) == ("descending", sorted(values, reverse=True))
    words, backwards = browser.run(column.format(0))[1], browser.run(column.format(0))[1]
    assert (words[-1], backwards) == ("uniform", words[::-1])
    browser.open(page, 1400, script=False)
    assert browser.complaints() == []
    assert browser.run("document.querySelectorAll('thead button').length") == 0
    assert browser.run("document.querySelectorAll('tbody tr').length") > 20


def test_the_page_prints(browser, page):
    browser.open(page, 1400, dark=True)
    data = browser.pdf()
    assert data.startswith(b"%PDF-")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", data)) <= 12


# The figures


def figures(page):
    """The figures of the page, by what a screen reader calls them."""
    drawn = re.findall(r"<svg [^>]*role=\"img\".*?</svg>", page.read_text(), re.S)
    return {root.get("aria-label"): root for root in map(ElementTree.fromstring, drawn)}


def axis(root, side):
    """Data values of pixels along an axis, read off the labels of its ticks."""
    ticks = [one for one in root.iter("text") if one.get("class") == side]
    at = np.array([float(one.get(side)) - (3.5 if side == "y" else 0) for one in ticks])
    said = np.array([float(one.text.removesuffix("k")) * (1000 if one.text.endswith("k") else 1) for one in ticks])
    if (said == 0).any():
        return lambda pixel: np.polyval(np.polyfit(at, said, 1), pixel)
    return lambda pixel: np.exp(np.polyval(np.polyfit(at, np.log(said), 1), pixel))


def marked(group):
    """The middle of each marker of a group, in pixels."""
    found = []
    for one in group:
        if one.tag == "circle":
            found.append((float(one.get("cx")), float(one.get("cy"))))
        elif one.tag == "rect":
            half = float(one.get("width")) / 2
            found.append((float(one.get("x")) + half, float(one.get("y")) + half))
    return np.array(found)


def test_the_curves_are_the_losses_of_the_runs(page, build):
    runs = json.loads((build / "runs.json").read_text())["runs"]
    drawn = figures(page)
    for name in ("ct", "mri"):
        root = drawn[f"Validation loss on {name} against samples, by training domain, both axes logarithmic"]
        for source in ("ct", "mri"):
            (group,) = [one for one in root.iter("g") if one.get("data-name") == source]
            pixels = marked(group)
            expected = [
                (run["budget"], run["losses"][name])
                for run in runs
                if run["kind"] == "single" and run["amounts"][source] == run["budget"]
            ]
            seen = np.column_stack([axis(root, "x")(pixels[:, 0]), axis(root, "y")(pixels[:, 1])])
            assert seen == pytest.approx(np.array(expected), rel=0.01)


def test_the_bars_are_the_shares(page, build):
    target = json.loads((build / "allocation.json").read_text())["target"]
    mixtures = [target["shares"], *(found["shares"] for found in target["baselines"].values())]
    parts = [one for one in figures(page)["Shares by mixture"].iter("rect") if one.get("class") == "part"]
    drawn = [(one.get("data-name"), float(one.get("width").rstrip("%")) / 100) for one in parts]
    assert drawn == [(name, pytest.approx(share, abs=1e-5)) for shares in mixtures for name, share in shares.items()]
    assert [float(one.get("x").rstrip("%")) for one in parts][:2] == [
        0,
        pytest.approx(100 * target["shares"]["ct"], abs=1e-3),
    ]


def test_the_path_is_the_shares_by_budget(page, build):
    steps = [step for step in json.loads((build / "allocation.json").read_text())["path"] if "shares" in step]
    root = figures(page)["Optimal share of each domain against the budget, on a logarithmic axis"]
    for name in ("ct", "mri"):
        (group,) = [one for one in root.iter("g") if one.get("data-name") == name]
        pixels = np.array(re.findall(r"[ML]([\d.]+) ([\d.]+)", group[0].get("d")), float)
        seen = np.column_stack([axis(root, "x")(pixels[:, 0]), axis(root, "y")(pixels[:, 1])])
        assert seen[:, 0] == pytest.approx([step["budget"] for step in steps], rel=0.02)
        assert seen[:, 1] == pytest.approx([step["shares"][name] for step in steps], abs=0.005)


def test_the_heat_map_is_the_measured_transfer(page, build):
    runs = json.loads((build / "runs.json").read_text())["runs"]
    alone = {
        next(name for name, amount in run["amounts"].items() if amount): run["losses"]
        for run in runs
        if run["kind"] == "single" and run["budget"] == 960
    }
    root = figures(page)["Specialist loss divided by the loss after training on another domain alone"]
    seen = [float(one.text) for one in root.iter("text") if one.get("class") == "value"]
    expected = [alone[name][name] / alone[source][name] for name in ("ct", "mri") for source in ("ct", "mri")]
    assert seen == pytest.approx(expected, abs=0.0051)
    depths = [float(one.get("fill-opacity")) for one in root.iter("rect")]
    assert np.argsort(depths).tolist() == np.argsort(np.minimum(expected, max(expected))).tolist()


def test_transfer_is_called_measured_only_where_every_domain_was_trained_alone(tmp_path):
    """Chosen designs hold single domains here and there; a mean over no run was drawn in the report, with a warning."""
    build = tmp_path / "study"
    shutil.copytree(Path(__file__).parents[1] / "build" / "study", build)
    table = json.loads((build / "runs.json").read_text())

    def section(kept):
        (build / "runs.json").write_text(json.dumps({**table, "runs": kept}))
        return " ".join(transfer_section(Results(build)))

    single = [run for run in table["runs"] if run["kind"] == "single"]
    budgets = sorted({run["budget"] for run in single})
    assert f"Measured at {budgets[-1]:,} samples" in section(table["runs"])
    name = table["domains"][0]

    def lacks(run, among):
        return run["kind"] == "single" and run["amounts"][name] == run["budget"] and run["budget"] in among

    some = section([run for run in table["runs"] if not lacks(run, budgets[-1:])])
    assert f"Measured at {budgets[-2]:,} samples" in some
    none = section([run for run in table["runs"] if not lacks(run, budgets)])
    assert "Measured" not in none
    assert "At no budget was every domain trained alone" in none


def test_the_histograms_are_the_fractions(page, build):
    statistics = json.loads((build / "statistics.json").read_text())["domains"]
    for name, found in statistics.items():
        bars = [
            float(one.get("height"))
            for one in figures(page)[f"Histogram of the prepared voxels of {name}"].iter("rect")
        ]
        fractions = np.array(found["histogram"]["fractions"])
        assert np.array(bars) / max(bars) == pytest.approx(fractions / fractions.max(), abs=0.002)


def test_a_figure_wider_than_a_narrow_page_scrolls_and_says_what_it_shows():
    chart = Chart("t", "a chart", (1, 10), (1, 10), "samples", "loss", width=600)
    assert chart.render().startswith('<div class="scroll wide" tabindex="0"><svg ')
    assert "<desc>Axes: samples, 0.926 to 10.8; loss, 0.943 to 10.6.</desc>" in chart.render()
    assert "<desc>one: a 75.0%, b 25.0%</desc>" in share_bars("t", {"one": {"a": 0.75, "b": 0.25}}, ["a", "b"], "bars")


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return float(
        np.dot([0.2126, 0.7152, 0.0722], [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts])
    )


@pytest.mark.parametrize("colour", COLOURS)
def test_text_on_a_colour_and_the_colour_on_the_page_have_contrast(colour):
    """WCAG 2.1: 4.5 for text, 3 for graphics."""
    assert 1.05 / (luminance(colour) + 0.05) > 4.5
    assert (luminance(colour) + 0.05) / (luminance("#14181f") + 0.05) > 3


def test_no_version_of_the_page_is_lost_between_the_study_and_the_registry(finished, tmp_path):
    """`mixlang report` finds both."""
    from conftest import mixlang

    published = mixlang("report", "small", cwd=finished).stdout.strip()
    assert published == str(finished / "registry/small/v1/report.html")
    root = tmp_path / "unpublished"
    shutil.copytree(finished, root, symlinks=True, ignore=shutil.ignore_patterns(".mixlang", "registry"))
    assert mixlang("report", "small", cwd=root).stdout.strip() == str(root / "build/small/report.html")
    done = mixlang("report", "other", cwd=root, check=False)
    assert done.returncode == 1
    assert "there is no mixture 'other'" in done.stderr
