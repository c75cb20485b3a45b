"""The public names: all there, all documented, all annotated."""

import importlib
import inspect

SURFACE = {
    "lars_jax": {
        *("InputError", "STATIC_ARGUMENTS", "ScaleByLarsState", "TrainState"),
        *("VARIANTS", "Variant", "exclude", "exclude_vectors"),
        *("group_by_module", "lamb", "lars", "lars_mlperf", "lars_report"),
        *("layer_norms", "path_labels", "path_mask", "scale_by_lars"),
        *("rate_for_batch", "warmup_for_batch", "warmup_polynomial"),
    },
    "lars_jax.optim": None,
    "lars_jax.train": None,
    "lars_jax.models": None,
    "lars_jax.data": None,
    "lars_jax.report": None,
    "lars_jax.runs": None,
}
PUBLIC = {
    f"{module}.{name}": getattr(importlib.import_module(module), name)
    for module in SURFACE
    for name in importlib.import_module(module).__all__
}


def test_all_names_each_once_and_what_is_documented():
    for module, documented in SURFACE.items():
        found = importlib.import_module(module).__all__
        assert len(set(found)) == len(found), module
        assert documented is None or set(found) == documented, module


def test_public_name_has_a_docstring_and_full_annotations():
    for name, thing in PUBLIC.items():
        if inspect.isfunction(thing) or inspect.isclass(thing):
            assert inspect.getdoc(thing), name
        if inspect.isfunction(thing):
            signature = inspect.signature(thing)
            annotations = [p.annotation for p in signature.parameters.values()]
            annotations.append(signature.return_annotation)
            assert inspect.Parameter.empty not in annotations, name


def test_optimizer_function_shows_an_example():
    for name, thing in PUBLIC.items():
        if name.startswith("lars_jax.optim.") and inspect.isfunction(thing):
            assert ">>>" in (inspect.getdoc(thing) or ""), name
