import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lars_jax.errors import InputError
from lars_jax.report import Curve, Picture, confusion_figure, write_report
from lars_jax.report.images import image_uri
from lars_jax.report.page import measured, plain
from tests.report.support import (
    Page,
    evaluation,
    game,
    layers,
    measures,
    mistakes,
    resnet152,
    training,
)

HOSTILE = "<script>alert('x')</script>"
IMAGE = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
NOTHING: dict[str, Any] = {
    "title": "",
    "summary": {},
    "config": {},
    "metrics": [],
    "environment": {},
}


def shares(title: str = "Confusion") -> Any:
    return confusion_figure(
        np.eye(2), title=title, row_label="generator", column_label="named"
    )


RUN: dict[str, Any] = {
    "title": "digits",
    "summary": {"accuracy": "98.06 % of 360", "steps": 9},
    "config": {"seed": 0, "optimizer": {"learning_rate": 2.0}},
    "metrics": [*training(9), evaluation(9, 0.98)],
    "layers": [
        layers(1, {"conv/kernel": 0.005, "fc/kernel": 0.1}),
        layers(9, {"conv/kernel": 0.002, "fc/kernel": 0.3}),
    ],
    "mistakes": mistakes(3, names=("cat", "dog", "eel", "fox")),
    "environment": {"jax": "0.10.2", "git_revision": None},
}
GAME: dict[str, Any] = {
    "title": "ring",
    "summary": {"modes": "8 of 8"},
    "metrics": [*game(9), measures(5), measures(9)],
    "pictures": [
        Picture("Specialisation", "Each row is a generator.", shares()),
        Picture("Samples", "", IMAGE),
        Picture("Again", "", shares()),
    ],
    "config": {"seed": 0, "model": {"generators": 8}},
    "environment": {"jax": "0.10.2"},
}


def report(directory: Path, **parts: Any) -> str:
    """Return the page of a run of which nothing is known but the given parts."""
    path = directory / "report.html"
    write_report(path, **{**NOTHING, **parts})
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the page of a small complete run."""
    return report(tmp_path_factory.mktemp("run"), **RUN)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the page of a small complete game."""
    return report(tmp_path_factory.mktemp("game"), **GAME)


@pytest.fixture(params=["run", "played"])
def source(request: pytest.FixtureRequest) -> str:
    """Return each of the two pages."""
    return request.getfixturevalue(request.param)


def test_page_shows_every_part_of_a_run(run):
    page = Page(run)
    for words in (
        "98.06 % of 360",
        "Loss",
        "evaluation, 98.00 %",
        "Learning rate",
        "Trust ratio of each layer",
        "Trust ratio of each layer, as lines",
        "Effective rate of each layer: global rate times trust ratio",
        "is cat",
        "dog",
        "75 %",
        "learning_rate",
        "0.10.2",
    ):
        assert words in page.texts, words
    assert page.tags["svg"] == 6


def test_page_shows_every_part_of_a_game_in_its_order(played):
    page = Page(played)
    places = [
        page.texts.index(words)
        for words in (
            "8 of 8",
            "Course of training",
            "Losses",
            "Wasserstein distance",
            "Symmetric KL divergence",
            "Modes covered",
            "Purity of the generators",
            "Specialisation",
            "Each row is a generator.",
            "Confusion",
            "Samples",
            "Configuration",
            "Environment",
            "0.10.2",
        )
    ]
    assert places == sorted(places)
    assert page.tags["svg"] == 7
    assert page.texts.count("true samples") == 1
    assert "Layers" not in page.texts
    assert "What the network got wrong" not in page.texts


def test_page_asks_for_nothing_outside_itself(source):
    page = Page(source)
    assert "://" not in source
    assert page.tags["script"] == page.tags["link"] == page.tags["iframe"] == 0
    assert not re.search(r"@import|url\((?!#)", source)
    addresses = [
        value for _, name, value in page.attributes if name in ("src", "xlink:href")
    ]
    assert addresses
    assert all(
        address.startswith(("data:image/png;base64,", "#")) for address in addresses
    )
    assert any("default-src 'none'" in value for _, _, value in page.attributes)


def test_page_adapts_to_dark_screens_and_phones(source):
    assert "prefers-color-scheme: dark" in source
    assert 'content="width=device-width, initial-scale=1"' in source
    light, dark = re.findall(r":root \{(.*?)\}", source)
    for name in set(re.findall(r"var\(--(\w+)\)", source)):
        assert f"--{name}: #" in light
        assert f"--{name}: #" in dark


def test_identifiers_are_unique_in_the_page(source):
    found = [value for _, name, value in Page(source).attributes if name == "id"]
    assert len(found) == len(set(found)) > 10


@pytest.mark.slow
def test_same_run_gives_the_same_bytes_from_any_iterable(tmp_path, run):
    again = {part: iter(RUN[part]) for part in ("metrics", "layers")}
    assert report(tmp_path, **{**RUN, **again}) == run


def test_text_of_the_run_is_never_markup(tmp_path):
    source = report(
        tmp_path,
        title=HOSTILE,
        summary={HOSTILE: HOSTILE},
        config={HOSTILE: HOSTILE, "section": {HOSTILE: HOSTILE}},
        layers=[layers(1, {HOSTILE: 0.1, "b": 0.2})],
        mistakes=mistakes(1, names=(HOSTILE, HOSTILE)),
        pictures=[
            Picture(HOSTILE, HOSTILE, shares(HOSTILE)),
            Picture(HOSTILE, HOSTILE, IMAGE),
        ],
        environment={HOSTILE: HOSTILE},
    )
    page = Page(source)
    assert page.tags["script"] == 0
    assert "<script" not in source
    assert page.text.count(HOSTILE) >= 20
    assert ("img", "alt", HOSTILE) in page.attributes
    assert ("svg", "aria-label", HOSTILE) in page.attributes


def test_only_what_was_logged_is_drawn(tmp_path):
    page = Page(report(tmp_path, metrics=[{"step": 1, "eval/modes": 3, "depth": 0.1}]))
    assert page.tags["svg"] == 1
    assert "Modes covered" in page.texts
    rows = [{"step": 1, "eval/modes": 3, "depth": 0.1}]
    own = [Curve("Depth", {"depth": ""}), Curve("Width", {"width": ""})]
    page = Page(report(tmp_path, metrics=rows, curves=own))
    assert page.tags["svg"] == 1
    assert "Depth" in page.texts


def test_run_that_has_not_begun_is_reported(tmp_path):
    for nothing in ([], [{"step": 1, "layers": {}}]):
        page = Page(report(tmp_path, layers=nothing))
        assert "No step has been logged." in page.texts
        assert "This run recorded no layers." in page.texts
        for tag in ("svg", "img", "dl", "table"):
            assert page.tags[tag] == 0


def test_values_that_are_not_finite_are_told_and_break_nothing(tmp_path, played):
    rows = [*game(3), measures(3)]
    rows[1]["classifier_loss"] = float("nan")
    for name in ("eval/wasserstein", "eval/purity", "eval/modes", "floor/wasserstein"):
        rows[3][name] = None
    rows[3]["eval/symmetric_kl"] = float("inf")
    page = Page(report(tmp_path, metrics=rows))
    words = "This run diverged: at step 2 the loss of the classifier is not finite."
    assert words in page.texts
    assert page.tags["svg"] == 5
    assert "diverged" not in Page(played).text


def test_norms_of_the_first_and_the_last_record_are_told(run):
    page = Page(run)
    start = page.texts.index("conv/kernel", page.texts.index("step 1"))
    # ||w|| = 5, ||g|| = 1 at first; ||w|| = 2 at last.
    assert page.texts[start + 1 : start + 11] == [
        *("5.00", "1.00", "5.00", "0.00500", "0.0100"),
        *("2.00", "1.00", "2.00", "0.00200", "0.00400"),
    ]
    row = re.search(r'<tr><th scope="row">conv/kernel</th>(.*?)</tr>', run)
    assert row is not None
    # Columns of a moment begin apart from those before.
    classes = ["first" in cell for cell in re.findall(r"<td[^>]*>", row[1])]
    assert classes == ([True] + [False] * 4) * 2


def test_range_of_the_first_step_is_put_in_words(run):
    words = (
        "at step 1 ranges over a factor of 20.0, from conv/kernel (5.00) to fc/kernel "
        "(100)."
    )
    assert words in Page(run).text


def test_record_from_before_effective_rates_is_shown_without_them(tmp_path):
    rows = [layers(1, {"a": 0.5, "b": 0.1}), layers(2, {"a": 0.4, "b": 0.2})]
    for row in rows:
        for norms in row["layers"].values():
            del norms["effective_rate"]
    page = Page(report(tmp_path, layers=rows))
    assert "Trust ratio of each layer, as lines" in page.texts
    assert not any("Effective rate" in text for text in page.texts)
    assert "rate" not in page.texts
    start = page.texts.index("a", page.texts.index("step 1"))
    assert page.texts[start + 4 : start + 6] == ["0.500", "400"]


def test_single_record_is_told_once_and_excluded_layers_are_counted(tmp_path):
    row = layers(4, {"a": 0.1, "b": 0.2, "c": 1.0})
    for norms in row["layers"].values():
        norms["effective_rate"] = 0.0
    row["layers"]["a"]["gradient_norm"] = 0.0
    page = Page(report(tmp_path, layers=[row]))
    assert "Left out: 1 of 3 whose ratio is one throughout." in page.text
    # In the table; were it drawn, it would be named beside the lines.
    assert page.texts.count("c") == 1
    assert page.texts.count("a") == 3
    assert page.texts.count("‖w‖") == 1
    assert "step 4" in page.texts
    assert not any("Effective rate" in text for text in page.texts)
    assert "∞" in page.texts


def test_sgd_shows_norms_but_no_map_of_ratios(tmp_path):
    with_ones = layers(1, {"a": 1.0, "b": 1.0})
    without = {"step": 1, "layers": {"a": {"weight_norm": 2.0, "gradient_norm": 4.0}}}
    for row in (with_ones, without):
        page = Page(report(tmp_path, layers=[row]))
        assert "Trust ratio of each layer" not in page.texts
        assert "No layer was adapted" in page.text
        assert "‖w‖" in page.texts


def test_hundreds_of_layers_are_folded_but_complete(tmp_path):
    names = resnet152()
    row = layers(1, dict.fromkeys(names, 1.0))
    page = Page(report(tmp_path, layers=[row]))
    assert page.tags["details"] == 1
    assert "Norms of all 467 parameters" in page.texts
    assert set(names) <= set(page.texts)


def test_nothing_wrong_is_said_and_what_is_unknown_is_not_called_so(tmp_path):
    assert "Nothing wrong" in Page(report(tmp_path, mistakes=mistakes(0))).text
    assert "Nothing wrong" not in Page(report(tmp_path, mistakes=None)).text


def test_small_images_stay_crisp(tmp_path):
    for size, kind in ((96, "crisp"), (97, "smooth")):
        page = Page(report(tmp_path, mistakes=mistakes(1, size=size)))
        assert ("img", "class", kind) in page.attributes
        assert ("img", "alt", "0 taken for 1") in page.attributes


def test_pictures_stand_in_their_order_with_their_pixels(tmp_path):
    pictures = [Picture("Second", "", IMAGE), Picture("First", "", 2 * IMAGE)]
    page = Page(report(tmp_path, pictures=pictures))
    assert page.texts.index("Second") < page.texts.index("First")
    images = [
        value for tag, name, value in page.attributes if (tag, name) == ("img", "src")
    ]
    assert images == [image_uri(IMAGE), image_uri(2 * IMAGE)]
    assert ("img", "width", "4") in page.attributes
    assert ("img", "height", "2") in page.attributes
    assert ("img", "alt", "Second") in page.attributes


def test_report_replaces_the_one_before_and_leaves_nothing_else(tmp_path):
    report(tmp_path, title="before")
    assert "before" not in report(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"metrics": [{"step": 1, "train/loss": "high"}]}, "high"),
        (
            {"pictures": [Picture("Samples", "", "a.png")]},  # pyright: ignore
            "a figure or an image; got str for 'Samples'",
        ),
        ({"pictures": [Picture("", "", IMAGE / 2)]}, "uint8 .* got float64"),
        ({"pictures": [Picture("", "", IMAGE[0])]}, "got uint8"),
    ],
)
def test_report_that_cannot_be_drawn_leaves_the_one_before(tmp_path, parts, message):
    before = report(tmp_path)
    with pytest.raises((InputError, ValueError), match=message):
        report(tmp_path, **parts)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == before


def test_nested_settings_stand_under_the_path_of_their_section(tmp_path):
    config = {"a": {"b": {"c": 1}, "d": 2}, "e": 3, "empty": {}}
    texts = Page(report(tmp_path, config=config)).texts
    assert texts[texts.index("Configuration") + 1 :] == [
        *("e", "3", "empty", "{}", "a", "d", "2", "a.b", "c", "1")
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (float("nan"), "–"),
        (float("-inf"), "−∞"),
        (0.0, "0"),
        (-0.5, "-0.500"),
        (1.867, "1.87"),
        (999.4, "999"),
        (999.9, "1,000"),
        (2e7, "2.00e+07"),
    ],
)
def test_measurements_have_three_digits(value, shown):
    assert measured(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (False, "no"),
        (np.bool_(True), "yes"),
        (np.int64(60965224), "60,965,224"),
        (np.float32(0.5), "0.5"),
        ([], ""),
        (("a", None), "a, none"),
    ],
)
def test_settings_read_like_words(value, shown):
    assert plain(value) == shown
