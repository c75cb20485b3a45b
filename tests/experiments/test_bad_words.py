"""What somebody may type: one line that names it, exit status 2, nothing written."""

from pathlib import Path

import pytest

from experiments.lars.experiment import main as lars
from experiments.mgan.experiment import main as mgan

HUGE = "1" + 400 * "0"
EMPTY = "a value must not be empty; got none for"
URL = "a path must be one of this machine's file systems; got gs://b/a"
RUN = "none: name one that `train` has written"

LARS = [
    # words, what the line says
    (["train", "--run-dir", ""], f"{EMPTY} --run-dir"),
    (["train", "--run-dir="], f"{EMPTY} --run-dir"),
    (["train", "--data-dir", ""], f"{EMPTY} --data-dir"),
    (["train", "--init-from", ""], f"{EMPTY} --init-from"),
    (["train", "--dataset="], f"{EMPTY} --dataset"),
    (["eval", ""], EMPTY),
    (["export", "a", ""], f"{EMPTY} a"),
    (["train", "--run-dir", "gs://b/a"], URL),
    (["train", "--dataset", "folder:gs://b/a"], URL),
    (["train", "--data-dir", "gs://b/a"], URL),
    (["train", "--init-from", "gs://b/a"], URL),
    (["show", "--init-from", "gs://b/a"], URL),
    (["show", "--dataset", "folder:gs:/b/a"], URL),
    (["compare", "--run-dir", "gs://b/a"], URL),
    (["compare", "--dataset", "folder:gs://b/a"], URL),
    (["eval", "gs://b/a"], URL),
    (["export", "a", "gs://b/a"], URL),
    (["report", "gs://b/a"], URL),
    (["train", "--run-dir", "t\udcff"], "a path must be of UTF-8"),
    (["train", "--dataset", "folder:t\udcff"], "a path must be of UTF-8"),
    (["train", "--run-dir", "a\0b"], "a path must be of UTF-8"),
    (["train", "--run-dir", "~nobody-here/a"], "~ must be the home of somebody"),
    (["train", "--dataset", "folder:~nobody-here/a"], "home of somebody"),
    (["train", "--dataset", "folder:a", "--train-split", ".."], "got no folder"),
    (["train", "--grace", "-1"], "grace must be a finite number above 0"),
    (["train", "--grace", "nan"], "grace must be a finite number above 0"),
    (["train", "--grace", "1e9"], "grace must be a finite number above 0"),
    (["train", "--resume"], "--resume needs a run to go on with; got no --run-dir"),
    (["train", "--resume-if-any"], "got no --run-dir"),
    (["train", "--run-dir", "a", "--resume", "--resume-if-any"], "got both: leave"),
    (["train", "--global-batch", HUGE], "global_batch must be a whole number above 0"),
    (["train", "--steps", str(2**31)], "above 0 and below 2,147,483,648"),
    (["train", "--holdout", HUGE], "holdout must be a whole number of at least 0"),
    (["train", "--resize", HUGE], "resize must be a whole number"),
    (["train", "--seed", HUGE], "seed must be a whole number"),
    (["train", "--epochs", "1e308"], "epochs must be a finite number above 0 and of"),
    (["train", "--eval-every", "1e308"], "eval_every must be a finite number"),
    (["train", "--checkpoint-every", "1e308"], "checkpoint_every must be"),
    (["train", "--keep-every", "1e308"], "keep_every must be"),
    (["train", "--device-memory", "1e308"], "device_memory must be"),
    (["show", "--device-memory", "1e308"], "device_memory must be"),
    (["train", "--steps", "2.5"], "Error parsing --steps: ['2.5'] is none of"),
    (["train", "--steps", "1,2"], "Error parsing --steps: ['1,2'] is none of"),
    (["train", "--steps", "5", "--warmup-epochs", "5"], "which take 28.07 of 5 steps"),
    (["compare", "--batches", "64,256"], "values of one flag are separated by spaces"),
    (["compare", "--optimizers", "lars,sgd"], "separated by spaces"),
    (["compare", "--batches"], "got (): name them after --batches"),
    (["compare", "--batches", "0"], "batches must be whole numbers above 0; got (0,)"),
    (["compare", "--batches", "1400"], "got 1400 of 1237: lower --batches or --tun"),
    (
        ["compare", "--tuning-holdout", "99999"],
        "tuning_holdout must be below the 1,437",
    ),
    (["compare", "--tuning-holdout", "1437"], "tuning_holdout must be below the 1,437"),
    (["compare", "--trials", HUGE], "trials must be a whole number"),
    (["compare", "--rate-span", "inf"], "rate_span must be a finite number"),
    (["compare", "--holdout", "9"], "got holdout 9: leave --holdout out"),
    (["compare", "--learning-rate", "5"], "got --learning-rate 5.0: leave it out"),
    (["compare", "--optimizer", "sgd"], "name them after --optimizers"),
    (["compare", "--global-batch", "64"], "name them after --batches"),
    (["compare", "--image-size", "9"], "image_size must not exceed the images; got 9"),
    (["compare", "--init-from", "no.npz"], "no.npz could not be read"),
    (["compare", "--test-split", "dev"], "got 'dev'"),
    (["train", "--init-from", "a\nb.npz"], r"a\nb.npz could not be read"),
    (["eval", "a\nb"], RUN),
    (["report", "/dev/null"], RUN),
]

MGAN = [
    (["train", "digits", "--features", ""], f"{EMPTY} --features"),
    (["train", "digits", "--features", "gs://b/a"], URL),
    (["train", "digits", "--features", "resnet8:"], "a path must be of UTF-8, not"),
    (["train", "digits", "--features", "resnet8:a"], "a could not be read"),
    (["train", "digits", "--data-dir", "gs://b/a"], URL),
    (["samples", "a", "gs://b/a"], URL),
    (["samples", "gs://b/a", "a.npz"], URL),
    (["eval", "gs://b/a"], URL),
    (["compare", "ring", "--run-dir", "gs://b/a"], URL),
    (["compare", "ring", "ring"], "presets, each once; got ring ring"),
    (["compare", "ring", "--seeds", "-1"], "seeds must be a whole number above 0"),
    (["compare", "ring", "--steps", "0"], "steps must be a whole number above 0"),
    (["compare", "ring", "--steps", HUGE], "steps must be a whole number above 0"),
    (["train", "--warmup-steps", "25000"], "warmup_steps must be below the 25000 step"),
    (["train", "--generators", HUGE], "generators must be a whole number above 0"),
    (["train", "--modes", HUGE], "modes must be a whole number above 0"),
    (["train", "--width", str(10**12)], "width must be a whole number above 0"),
    (["train", "--noise-size", HUGE], "noise_size must be a whole number above 0"),
    (["train", "--eval-samples", HUGE], "eval_samples must be a whole number above 0"),
    (["train", "--extent", "1e308"], "extent must be a finite number above 0"),
    (["train", "--variance", "1e308"], "variance must be a finite number above 0"),
    (["samples", "a", "a.npz", "--samples", HUGE], "samples must be a whole number"),
    (["eval", "a", "--samples", "0"], "samples must be a whole number above 0"),
    (["eval", "a", "--samples", "nan"], "['nan'] is none of {None}|INT"),
    (["train", "--run-dir", "a", "--resume", "--resume-if-any"], "got both"),
]

CASES = {f"lars {ascii(words)[:70]}": (lars, words, says) for words, says in LARS}
CASES |= {f"mgan {ascii(words)[:70]}": (mgan, words, says) for words, says in MGAN}


@pytest.mark.parametrize(("main", "words", "says"), CASES.values(), ids=CASES)
def test_one_line_and_status_two(main, words, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert says in said
    assert "<class" not in said
    assert list(Path().iterdir()) == []
