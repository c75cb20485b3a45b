"""Every experiment has the same commands, and says what is wrong in a line."""

import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from experiments.toy import TOY, Toy, main
from lars_jax.errors import InputError
from lars_jax.runs import Positive, Verb, cli
from tests.whole_runs import rows


def add(experiment, words):
    if words == ["badly"]:
        raise InputError("numbers must be numbers; got badly: give numbers")
    if words == ["wrongly"]:
        raise ZeroDivisionError
    return len(words)


OWN = replace(TOY, verbs={"add": Verb("NUMBER ...", "add numbers", add)})


def test_usage_lists_the_verbs_of_all_and_its_own(capsys):
    assert cli.main(OWN, ["--help"]) == 0
    said, error = capsys.readouterr()
    assert error == ""
    assert said.startswith("usage: python -m experiments.toy VERB ...\n")
    verbs = [line.split()[0] for line in said.splitlines() if line.startswith("  ")]
    assert verbs == ["train", "eval", "export", "report", "list", "add"]
    assert "PRESET is slow where left out" in said


def test_words_are_needed(capsys):
    assert cli.main(OWN, []) == 2
    assert capsys.readouterr().out.startswith("usage: ")


def test_words_are_those_of_the_process_where_none_are_given(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["toy", "add", "1"])
    assert cli.main(OWN) == 1


def test_unknown_verb_is_a_line_and_status_two(capsys):
    assert cli.main(OWN, ["fly"]) == 2
    assert capsys.readouterr() == (
        "",
        "error: the verb must be one of train, eval, export, report, list, add; got "
        "'fly': see python -m experiments.toy --help\n",
    )


def test_verb_that_an_experiment_lacks_is_unknown(capsys):
    assert cli.main(TOY, ["show"]) == 2
    assert cli.main(replace(TOY, report=None), ["report"]) == 2
    assert capsys.readouterr().err.count("the verb must be one of") == 2


def test_error_of_a_verb_is_a_line_and_status_two(capsys):
    assert cli.main(OWN, ["add", "badly"]) == 2
    line = "error: numbers must be numbers; got badly: give numbers\n"
    assert capsys.readouterr() == ("", line)


def test_defect_of_a_verb_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        cli.main(OWN, ["add", "wrongly"])


@pytest.mark.parametrize("verb", ["train", "eval", "export", "report", "list"])
def test_every_verb_has_help(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert not stop.value.code
    assert f"usage: python -m experiments.toy {verb}" in capsys.readouterr().out


def test_help_of_train_has_every_field_with_its_default(capsys):
    with pytest.raises(SystemExit):
        main(["train", "fast", "--help"])
    said = capsys.readouterr().out
    assert "What a step multiplies x by. (default: 0.5)" in said
    assert "--resume-if-any" in said
    assert "--coordinator" in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train", "--rate", "1"], "rate must be a finite number of at least 0 and"),
        (["train", "--rate", "nan"], "rate must be a finite number"),
        (
            ["train", "--steps", "0"],
            "steps must be a whole number above 0; got 0",
        ),
        (["train", "--seed", "-1"], "seed must be a whole number of at least 0"),
        (["train", "--devices", "999"], "devices must be between 1 and"),
        (["train", "--keep-every", "15"], "keep_every must be a multiple of"),
        (["train", "--stps", "3"], "--steps"),
        (["train", "slwo"], "did you mean slow?"),
        (["train", "--steps", "3", "slow"], "PRESET comes right after the verb"),
        (["train", "--init-from", "no.npz"], "no.npz could not be read (No such file"),
        (["train", "--processes", "none", "--process-id", "0"], "--processes none"),
        (["train", "--steps"], "--steps"),
        (["train", "--steps", "many"], "--steps"),
        (["train", "--steps", "2.5"], "--steps"),
        (["train", "--run-dir", "nowhere", "--resume"], "--resume needs a run to go"),
        (["list", "all"], "Unrecognized options: all"),
        (["eval"], "RUN_DIR"),
        (["eval", "nowhere"], "nowhere has none: name one that `train` has written"),
        (["export", "nowhere", "w.txt"], "*.npz or *.safetensors"),
        (["report", "nowhere"], "nowhere"),
    ],
)
def test_input_that_cannot_be_used_is_a_line(
    tmp_path, monkeypatch, capsys, words, says
):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("error: ")
    assert says in said
    assert list(tmp_path.iterdir()) == []


def test_preset_and_flags_make_the_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "fast", "--steps", "2", "--devices", "1"]) == 0
    (directory,) = (tmp_path / "runs").iterdir()
    assert directory.name.endswith("-fast")
    losses = [row["loss"] for row in rows(directory) if "loss" in row]
    assert losses[1] == pytest.approx(0.5 * losses[0])
    said = capsys.readouterr().err
    assert "8 numbers, 2 steps on 1 devices in 1 processes" in said
    assert "run directory: runs/" in said


def test_eval_prints_the_last_evaluation_again(finished, capsys):
    last = [row for row in rows(finished) if "eval/largest" in row][-1]
    assert main(["eval", str(finished)]) == 0
    said = capsys.readouterr().out
    assert said == f"step 40: largest {last['eval/largest']:.4g}\n"


@dataclass(frozen=True)
class Evaluate(cli.Evaluate):
    """Evaluate with another rate."""

    steps: Positive | None = None
    """Steps to pretend."""


class Saying(Toy):
    """A program whose numbers depend on a field that matters to evaluation alone."""

    def describe_evaluation(self):
        return [f"pretends {self.config.steps} steps"]


@pytest.mark.parametrize(("more", "steps"), [([], 40), (["--steps", "7"], 7)])
def test_eval_takes_the_flags_of_an_experiment(finished, capsys, more, steps):
    saying = replace(TOY, build=Saying, evaluate_flags=Evaluate)
    assert cli.main(saying, ["eval", str(finished), *more]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"pretends {steps} steps\nstep 40: largest ")


def test_export_says_what_it_wrote(finished, tmp_path, capsys):
    file = tmp_path / "x.npz"
    assert main(["export", str(finished), str(file)]) == 0
    assert capsys.readouterr().out == f"weights after step 40: {file}\n"


def test_report_is_written_again(finished, tmp_path, capsys):
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    (copy / "report.txt").unlink()
    assert main(["report", str(copy)]) == 0
    assert capsys.readouterr().out == f"{copy / 'report.txt'}\n"
    assert (copy / "report.txt").exists()


def test_presets_are_listed_with_what_they_reproduce(capsys):
    assert main(["list"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("slow  arithmetic; expected 2.7e-5 of the start")
    assert second.startswith("fast")


def test_show_describes_a_checked_configuration(capsys):
    shown = replace(TOY, show=lambda config: [f"{config.steps} steps"])
    assert cli.main(shown, ["show", "--steps", "3"]) == 0
    assert capsys.readouterr().out.endswith("\n3 steps\n")
    assert cli.main(shown, ["show", "--steps", "0"]) == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({}, "no"),
        ({"resume": True}, "yes"),
        ({"resume_if_any": True}, "if_any"),
        ({"resume": True, "resume_if_any": True}, "if_any"),
    ],
)
def test_words_say_whether_a_run_goes_on(words, expected):
    assert cli.Train(config=None, **words).resumes == expected
