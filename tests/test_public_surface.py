"""The public names: all there, all documented, all annotated."""

import importlib
import inspect

import pytest

SURFACE = {
    "lars_jax": {
        *("InputError", "STATIC_ARGUMENTS", "ScaleByLarsState", "TrainState"),
        *("VARIANTS", "Variant", "exclude", "exclude_vectors"),
        *("group_by_module", "lamb", "lars", "lars_mlperf", "lars_report"),
        *("layer_norms", "path_labels", "path_mask", "scale_by_lars"),
        "warmup_polynomial",
    },
    "lars_jax.optim": None,
    "lars_jax.train": None,
    "lars_jax.models": None,
    "lars_jax.data": None,
    "lars_jax.report": None,
    "lars_jax.runs": None,
}
NAMES = [
    (module, name)
    for module in SURFACE
    for name in importlib.import_module(module).__all__
]


@pytest.mark.parametrize("module", SURFACE)
def test_all_is_sorted_and_what_is_documented(module):
    found = importlib.import_module(module).__all__
    assert len(set(found)) == len(found)
    if SURFACE[module] is not None:
        assert set(found) == SURFACE[module]


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_public_name_has_a_docstring_and_full_annotations(module, name):
    thing = getattr(importlib.import_module(module), name)
    if not (inspect.isfunction(thing) or inspect.isclass(thing)):
        return
    assert inspect.getdoc(thing), name
    if inspect.isfunction(thing):
        signature = inspect.signature(thing)
        assert signature.return_annotation is not inspect.Signature.empty, name
        for parameter in signature.parameters.values():
            assert parameter.annotation is not inspect.Parameter.empty, parameter


@pytest.mark.parametrize(
    ("module", "name"), [(m, n) for m, n in NAMES if m.startswith("lars_jax.optim")]
)
def test_optimizer_function_shows_an_example(module, name):
    thing = getattr(importlib.import_module(module), name)
    if inspect.isfunction(thing) and name != "resolve_mask":
        assert ">>>" in (inspect.getdoc(thing) or ""), name
