import re
from pathlib import Path
from typing import Any

import pytest

from lars_jax.errors import InputError
from lars_jax.report import write_report
from tests.report.support import (
    Page,
    evaluation,
    layers,
    mistakes,
    resnet152,
    training,
)

HOSTILE = "<script>alert('x')</script>"


def report(directory: Path, **changes: Any) -> str:
    """Return the page of a small complete run, with parts of it changed."""
    parts: dict[str, Any] = {
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
    path = directory / "report.html"
    write_report(path, **{**parts, **changes})
    return path.read_text(encoding="utf-8")


def test_page_shows_every_part_of_a_run(tmp_path):
    page = Page(report(tmp_path))
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


def test_page_asks_for_nothing_outside_itself(tmp_path):
    source = report(tmp_path)
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


def test_page_adapts_to_dark_screens_and_phones(tmp_path):
    source = report(tmp_path)
    assert "prefers-color-scheme: dark" in source
    assert 'content="width=device-width, initial-scale=1"' in source


def test_every_variable_of_the_page_is_defined_in_both_schemes(tmp_path):
    source = report(tmp_path)
    light, dark = re.findall(r":root \{(.*?)\}", source)
    for name in set(re.findall(r"var\(--(\w+)\)", source)):
        assert f"--{name}: #" in light
        assert f"--{name}: #" in dark


def test_identifiers_are_unique_in_the_page(tmp_path):
    found = [
        value for _, name, value in Page(report(tmp_path)).attributes if name == "id"
    ]
    assert len(found) == len(set(found)) > 10


def test_text_of_the_run_is_never_markup(tmp_path):
    wrong = mistakes(1, names=(HOSTILE, HOSTILE))
    source = report(
        tmp_path,
        title=HOSTILE,
        summary={HOSTILE: HOSTILE},
        config={HOSTILE: HOSTILE, "section": {HOSTILE: HOSTILE}},
        layers=[layers(1, {HOSTILE: 0.1, "b": 0.2})],
        mistakes=wrong,
        environment={HOSTILE: HOSTILE},
    )
    page = Page(source)
    assert page.tags["script"] == 0
    assert "<script" not in source
    assert page.text.count(HOSTILE) >= 10


def test_norms_of_the_first_and_the_last_record_are_told(tmp_path):
    page = Page(report(tmp_path))
    start = page.texts.index("conv/kernel", page.texts.index("step 1"))
    # ||w|| = 5, ||g|| = 1 at first; ||w|| = 2 at last.
    assert page.texts[start + 1 : start + 11] == [
        *("5.00", "1.00", "5.00", "0.00500", "0.0100"),
        *("2.00", "1.00", "2.00", "0.00200", "0.00400"),
    ]


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


def test_columns_of_a_moment_begin_apart_from_those_before(tmp_path):
    source = report(tmp_path)
    row = re.search(r'<tr><th scope="row">conv/kernel</th>(.*?)</tr>', source)
    assert row is not None
    classes = ["first" in cell for cell in re.findall(r"<td[^>]*>", row[1])]
    assert classes == ([True] + [False] * 4) * 2


def test_effective_rates_are_drawn_of_adapted_layers_alone(tmp_path):
    ratios = {"a": 0.1, "b": 0.2, "excluded": 1.0}
    page = Page(report(tmp_path, layers=[layers(1, ratios)]))
    # In the table; were it drawn, the excluded layer would be named beside the lines.
    assert page.texts.count("excluded") == 1
    assert page.texts.count("a") == 4


def test_first_step_of_a_warm_up_from_zero_has_no_effective_rate(tmp_path):
    row = layers(1, {"a": 0.1})
    row["layers"]["a"]["effective_rate"] = 0.0
    page = Page(report(tmp_path, layers=[row]))
    assert not any("Effective rate" in text for text in page.texts)


def test_spread_of_the_first_step_is_put_in_words(tmp_path):
    words = (
        "at step 1 ranges over a factor of 20.0, from conv/kernel (5.00) to fc/kernel "
        "(100)."
    )
    assert words in Page(report(tmp_path)).text


def test_single_record_of_layers_is_told_once(tmp_path):
    page = Page(report(tmp_path, layers=[layers(4, {"a": 0.5})]))
    assert page.texts.count("‖w‖") == 1
    assert "step 4" in page.texts


def test_gradient_of_zero_has_an_infinite_quotient(tmp_path):
    row = layers(1, {"a": 0.5})
    row["layers"]["a"]["gradient_norm"] = 0.0
    assert "∞" in Page(report(tmp_path, layers=[row])).texts


def test_sgd_shows_norms_but_no_map_of_ratios(tmp_path):
    with_ones = layers(1, {"a": 1.0, "b": 1.0})
    without = {"step": 1, "layers": {"a": {"weight_norm": 2.0, "gradient_norm": 4.0}}}
    for row in (with_ones, without):
        page = Page(report(tmp_path, layers=[row]))
        assert "Trust ratio of each layer" not in page.texts
        assert "No layer was adapted" in page.text
        assert "‖w‖" in page.texts


def test_excluded_layers_are_counted_and_keep_their_norms(tmp_path):
    page = Page(report(tmp_path, layers=[layers(1, {"a": 0.1, "b": 0.2, "c": 1.0})]))
    assert "Left out: 1 of 3 that are not adapted." in page.text
    assert page.texts.count("c") == 1


@pytest.mark.parametrize("rows", [[], [{"step": 1, "layers": {}}]])
def test_run_without_layers_says_so(tmp_path, rows):
    assert "recorded no layers" in Page(report(tmp_path, layers=rows)).text


def test_hundreds_of_layers_are_folded_but_complete(tmp_path):
    names = resnet152()
    page = Page(report(tmp_path, layers=[layers(1, dict.fromkeys(names, 0.01))]))
    assert page.tags["details"] == 1
    assert "Norms of all 467 parameters" in page.texts
    assert set(names) <= set(page.texts)


def test_nothing_wrong_is_said(tmp_path):
    assert "Nothing wrong" in Page(report(tmp_path, mistakes=mistakes(0))).text


def test_unknown_mistakes_are_not_called_none(tmp_path):
    page = Page(report(tmp_path, mistakes=None))
    assert "has not listed its mistakes" in page.text
    assert "Nothing wrong" not in page.text


@pytest.mark.parametrize(("size", "kind"), [(8, "crisp"), (97, "smooth")])
def test_small_images_stay_crisp(tmp_path, size, kind):
    page = Page(report(tmp_path, mistakes=mistakes(1, size=size)))
    assert ("img", "class", kind) in page.attributes
    assert ("img", "alt", "0 taken for 1") in page.attributes


def test_run_that_diverged_is_announced(tmp_path):
    metrics = [*training(3), {"step": 4, "train/loss": float("nan")}]
    page = Page(report(tmp_path, metrics=metrics))
    assert "This run diverged: at step 4 its loss is not finite." in page.texts
    assert "diverged" not in Page(report(tmp_path)).text


def test_run_of_one_step_without_evaluation_is_reported(tmp_path):
    page = Page(report(tmp_path, metrics=training(1)))
    assert "Loss" in page.texts
    assert "evaluation" not in page.texts


def test_run_that_has_not_begun_is_reported(tmp_path):
    page = Page(
        report(
            tmp_path,
            summary={},
            config={},
            metrics=[],
            layers=[],
            mistakes=None,
            environment={},
        )
    )
    assert "No step has been logged." in page.texts
    assert page.tags["svg"] == page.tags["dl"] == page.tags["table"] == 0


def test_rows_may_come_from_generators(tmp_path):
    rows = training(9)
    assert report(tmp_path, metrics=iter(rows)) == report(tmp_path, metrics=rows)


def test_same_run_gives_the_same_bytes(tmp_path):
    assert report(tmp_path) == report(tmp_path)


def test_report_replaces_the_one_before_and_leaves_nothing_else(tmp_path):
    report(tmp_path, title="before")
    assert "before" not in report(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_report_that_cannot_be_drawn_leaves_the_one_before(tmp_path):
    before = report(tmp_path)
    with pytest.raises((InputError, ValueError)):
        report(tmp_path, metrics=[{"step": 1, "train/loss": "high"}])
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == before
