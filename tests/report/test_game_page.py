import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lars_jax.errors import InputError
from lars_jax.report import (
    Picture,
    confusion_figure,
    game_distance_figure,
    game_evaluation_figure,
    game_loss_figure,
    write_game_report,
    write_report,
)
from lars_jax.report.inline import image_uri
from tests.report.support import Page

HOSTILE = "<script>alert('x')</script>"
IMAGE = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)


def training(steps: int) -> list[dict[str, Any]]:
    return [
        {
            "step": step,
            "discriminator_loss": 1.4,
            "classifier_loss": 2.0 / step,
            "generator_loss": -0.7,
        }
        for step in range(1, steps + 1)
    ]


def evaluation(step: int, distance: float = 0.5) -> dict[str, Any]:
    return {
        "step": step,
        "eval/wasserstein": distance,
        "eval/average/wasserstein": distance / 2,
        "floor/wasserstein": 0.05,
        "eval/symmetric_kl": 3.0,
        "eval/modes": 8,
        "eval/purity": 0.9,
    }


def shares() -> Any:
    return confusion_figure(
        np.eye(2), title="Confusion", row_label="generator", column_label="named"
    )


def report(directory: Path, **changes: Any) -> str:
    """Return the page of a small complete run, with parts of it changed."""
    parts: dict[str, Any] = {
        "title": "ring",
        "summary": {"modes": "8 of 8"},
        "metrics": [*training(9), evaluation(5), evaluation(9)],
        "pictures": [
            Picture("Specialisation", "Each row is a generator.", shares()),
            Picture("Samples", "", IMAGE),
        ],
        "config": {"seed": 0, "model": {"generators": 8}},
        "environment": {"jax": "0.10.2"},
    }
    path = directory / "report.html"
    write_game_report(path, **{**parts, **changes})
    return path.read_text(encoding="utf-8")


def lines(figure: Any) -> dict[str, Any]:
    return {line.get_label(): line for line in figure.axes[0].lines}


def test_losses_of_all_players_are_drawn():
    found = lines(game_loss_figure(training(2)))
    assert {name: line.get_ydata().tolist() for name, line in found.items()} == {
        "discriminator": [1.4, 1.4],
        "generators": [-0.7, -0.7],
        "classifier": [2.0, 1.0],
    }


def test_player_that_is_not_there_is_not_drawn_and_the_others_keep_their_colour():
    rows = [{"step": 1, "classifier_loss": 2.0}]
    whole, part = lines(game_loss_figure(training(1))), lines(game_loss_figure(rows))
    assert part.keys() == {"classifier"}
    assert part["classifier"].get_color() == whole["classifier"].get_color()


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), None])
def test_first_loss_that_is_not_finite_is_marked_once(broken):
    rows = training(9)
    rows[4]["generator_loss"] = rows[6]["classifier_loss"] = broken
    marks = [name for name in lines(game_loss_figure(rows)) if "finite" in name]
    assert marks == ["not finite from 5"]


def test_distances_are_drawn_with_the_median_floor():
    rows = [evaluation(step, 4.0 / step) for step in (1, 2, 3)]
    for row, floor in zip(rows, (0.01, 0.04, 0.9), strict=True):
        row["floor/wasserstein"] = floor
    figure: Any = game_distance_figure(rows, "wasserstein", "Wasserstein distance")
    found = lines(figure)
    assert found["generators"].get_ydata().tolist() == [4.0, 2.0, 4.0 / 3]
    assert found["averaged"].get_ydata().tolist() == [2.0, 1.0, 2.0 / 3]
    assert found["true samples"].get_ydata() == [0.04, 0.04]
    assert found["true samples"].is_dashed()
    assert figure.axes[0].get_yscale() == "log"


@pytest.mark.parametrize(
    "floor",
    [{}, {"floor/symmetric_kl": float("nan")}, {"floor/symmetric_kl": None}],
)
def test_floor_that_is_not_known_is_not_drawn(floor):
    row = {"step": 1, "eval/symmetric_kl": 3.0, **floor}
    figure = game_distance_figure([row], "symmetric_kl", "KL")
    assert lines(figure).keys() == {"generators"}


def test_distance_of_zero_keeps_the_axis_linear():
    rows = [evaluation(1, 1.0), evaluation(2, 0.0)]
    figure: Any = game_distance_figure(rows, "wasserstein", "Wasserstein distance")
    assert figure.axes[0].get_yscale() == "linear"


def test_modes_are_whole_and_counted_from_none():
    figure: Any = game_evaluation_figure([evaluation(1)], "modes", "Modes")
    axes = figure.axes[0]
    assert axes.get_ylim()[0] == 0
    assert axes.get_ylim()[1] > 8
    assert all(float(tick).is_integer() for tick in axes.get_yticks())


def test_purity_is_told_in_percent():
    figure: Any = game_evaluation_figure([evaluation(1)], "purity", "Purity")
    figure.draw_without_rendering()
    ticks = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert "90 %" in ticks


@pytest.mark.parametrize(
    "draw",
    [
        game_loss_figure,
        lambda rows: game_distance_figure(rows, "wasserstein", ""),
        lambda rows: game_evaluation_figure(rows, "modes", ""),
    ],
)
def test_figure_without_its_quantity_is_refused(draw):
    with pytest.raises(InputError, match="got none in 1"):
        draw([{"step": 1, "learning_rate": 0.1}])


def test_page_shows_every_part_of_a_run(tmp_path):
    page = Page(report(tmp_path))
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
    assert page.tags["svg"] == 6
    assert page.texts.count("true samples") == 1
    assert page.tags["script"] == 0


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


def test_only_what_was_logged_is_drawn(tmp_path):
    rows = [{"step": 1, "eval/modes": 3, "learning_rate": 0.1}]
    page = Page(report(tmp_path, metrics=rows, pictures=[]))
    assert page.tags["svg"] == 1
    assert "Modes covered" in page.texts


def test_run_that_has_not_begun_is_reported(tmp_path):
    nothing = {"summary": {}, "config": {}, "environment": {}}
    page = Page(report(tmp_path, metrics=[], pictures=[], **nothing))
    assert "No step has been logged." in page.texts
    assert page.tags["svg"] == page.tags["img"] == page.tags["table"] == 0


def test_values_that_are_not_finite_are_told_and_break_nothing(tmp_path):
    rows = [*training(3), evaluation(3)]
    rows[1]["classifier_loss"] = float("nan")
    for name in ("eval/wasserstein", "eval/purity", "eval/modes", "floor/wasserstein"):
        rows[3][name] = None
    rows[3]["eval/symmetric_kl"] = float("inf")
    page = Page(report(tmp_path, metrics=rows))
    words = "This run diverged: at step 2 the loss of the classifier is not finite."
    assert words in page.texts
    assert page.tags["svg"] == 6
    assert "diverged" not in Page(report(tmp_path)).text


def test_text_of_the_run_is_never_markup(tmp_path):
    source = report(
        tmp_path,
        title=HOSTILE,
        summary={HOSTILE: HOSTILE},
        pictures=[
            Picture(HOSTILE, HOSTILE, shares()),
            Picture(HOSTILE, HOSTILE, IMAGE),
        ],
        config={HOSTILE: HOSTILE},
        environment={HOSTILE: HOSTILE},
    )
    page = Page(source)
    assert "<script" not in source
    assert page.text.count(HOSTILE) >= 12
    assert ("img", "alt", HOSTILE) in page.attributes
    assert ("svg", "aria-label", HOSTILE) in page.attributes


def test_page_has_the_shell_of_the_other_report(tmp_path):
    other = tmp_path / "other.html"
    write_report(
        other,
        title="ring",
        summary={},
        config={},
        metrics=[],
        layers=[],
        mistakes=None,
        environment={},
    )
    heads = [
        source[: source.index("<main>")]
        for source in (report(tmp_path), other.read_text(encoding="utf-8"))
    ]
    assert heads[0] == heads[1]
    assert "default-src 'none'" in heads[0]


def test_page_asks_for_nothing_outside_itself(tmp_path):
    source = report(tmp_path)
    assert "://" not in source
    assert not re.search(r"@import|url\((?!#)", source)


def test_identifiers_are_unique_in_the_page(tmp_path):
    twice = [Picture("a", "", shares()), Picture("b", "", shares())]
    page = Page(report(tmp_path, pictures=twice))
    found = [value for _, name, value in page.attributes if name == "id"]
    assert len(found) == len(set(found)) > 10


def test_same_run_gives_the_same_bytes_and_replaces_the_one_before(tmp_path):
    assert report(tmp_path) == report(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_rows_may_come_from_a_generator(tmp_path):
    rows = [*training(3), evaluation(3)]
    assert report(tmp_path, metrics=iter(rows)) == report(tmp_path, metrics=rows)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("a.png", "a figure or an image; got str for 'Samples'"),
        (IMAGE / 2, "uint8 .* got float64"),
        (IMAGE[0], "got uint8"),
    ],
)
def test_picture_that_is_none_is_refused_and_the_page_before_stays(
    tmp_path, image, message
):
    before = report(tmp_path)
    with pytest.raises(InputError, match=message):
        report(tmp_path, pictures=[Picture("Samples", "", image)])
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == before
