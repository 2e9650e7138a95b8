"""Wrong usage of `spiralnn fit` and `spiralnn predict`: told in one line before anything is read."""

import pytest
from calls import refusal
from commands import assert_wrong_usage, run

FIT = ("fit", "X.npy", "y.npy")
LINEAR = (*FIT, "--model", "linear")
BATCHES, STEPS = "expected 'auto', 'sgd' or 'adam'", "expected 'gd', 'sgd' or 'adam'"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fit",), "the following arguments are required: X"),
        (("fit", "X.npy"), "labels are missing: give a file y, or --target COLUMN"),
        (("fit", "X.csv"), "labels are missing: give a file y, or --target COLUMN"),
        (("fit", "X.npy", "--target", "0"), "argument --target: the labels are a column of X"),
        (("fit", "X.csv", "y.npy", "--target", "0"), "argument --target: the labels are a column of X"),
        (("fit", "X.csv", "--target", "0", "--test", "X.npy"), "argument --target: the labels are a column of X"),
        (("fit", "X.txt", "y.npy"), "'X.txt' given, expected a file ending in .npy, .csv, .tsv, "),
        ((*FIT, "--test", "X.npy"), "argument --test: 1 files given, expected 2"),
        (("fit", "X.csv", "--target", "0", "--test", "a.csv", "b.csv"), "argument --test: 2 files given, expected 1"),
        ((*FIT, "--test-fraction", "1"), "argument --test-fraction: expected a number between"),
        ((*FIT, "--test-fraction", "0"), "argument --test-fraction: expected a number between"),
        ((*FIT, "--test-fraction", "0.5", "--test", "a.npy", "b.npy"), "not allowed with"),
        ((*FIT, "--validation", "X.npy"), "argument --validation: 1 files given, expected 2"),
        (("fit", "X.csv", "--target", "0", "--validation", "a.csv", "b"), "argument --validation: 'b' given, expected"),
        (("fit", "X.csv", "--target", "0", "--validation", "X.npy"), "argument --target: the labels are a column of X"),
        ((*FIT, "--validation-fraction", "1", "--early-stopping"), "argument --validation-fraction: expected a number"),
        ((*FIT, "--validation-fraction", "0", "--early-stopping"), "argument --validation-fraction: expected a number"),
        ((*FIT, "--validation-fraction", "0.1"), "argument --validation-fraction: needs --early-stopping"),
        ((*FIT, "--validation", "a.npy", "b.npy", "--validation-fraction", "0.1"), "not allowed with"),
        ((*FIT, "--solver", "sag"), "argument --solver: invalid choice: 'sag'"),
        ((*FIT, "--solver", "newton-cholesky"), "argument --solver: 'newton-cholesky' is for --model linear"),
        ((*FIT, "--solver", "lbfgs", "--batch-size", "3"), f"argument --batch-size: solver is 'lbfgs', {BATCHES}"),
        ((*FIT, "--solver", "gd", "--batch-size", "3"), f"argument --batch-size: solver is 'gd', {BATCHES}"),
        ((*FIT, "--solver", "gd", "--learning-rate", "linear"), f"argument --learning-rate: solver is 'gd', {BATCHES}"),
        ((*FIT, "--solver", "lbfgs", "--step-size", "1"), f"argument --step-size: solver is 'lbfgs', {STEPS}"),
        ((*FIT, "--step-size", "1"), f"argument --step-size: solver is 'auto', {STEPS}"),
        ((*LINEAR, "--solver", "newton-cholesky", "--step-size", "1"), f"solver is 'newton-cholesky', {STEPS}"),
        ((*FIT, "--batch-size", "0"), "argument --batch-size: '0' given, expected an integer, 1"),
        ((*FIT, "--learning-rate", "0.1"), "argument --learning-rate: invalid choice: '0.1'"),
        ((*FIT, "--n-iter-no-change", "0"), "argument --n-iter-no-change: '0' given, expected an integer, 1"),
        ((*FIT, "--tol=-1"), "argument --tol: '-1' given, expected a finite number, 0 or more"),
        ((*FIT, "--model", "linear", "--hidden", "3"), "argument --hidden: a linear model has no"),
        ((*FIT, "--model", "deep"), "argument --model: invalid choice: 'deep'"),
        ((*FIT, "--resume"), "argument --resume: needs --checkpoint"),
        ((*FIT, "--out", "a.npz", "--checkpoint", "a.npz"), "argument --checkpoint: expected"),
        ((*FIT, "--hidden", "0"), "argument --hidden: '0' given, expected an integer, 1"),
        ((*FIT, "--max-iter", "0"), "argument --max-iter: '0' given, expected an integer, 1"),
        ((*FIT, "--step-size", "inf"), "argument --step-size: 'inf' given, expected a finite"),
        ((*FIT, "--reg=-1"), "argument --reg: '-1' given, expected a finite number, 0 or more"),
        ((*FIT, "--dtype", "float16"), "argument --dtype: invalid choice: 'float16'"),
        (("predict", "model.npz"), "the following arguments are required: X"),
        (("predict", "model.npz", "X.npy", "--out", "labels.txt"), "argument --out: 'labels.txt' given, expected"),
        (("predict", "model.npz", "X.npy", "--target", "0"), "argument --target: needs a .csv, .tsv or .parquet file"),
        (("predict", "model.npz", "X.npy", "--json"), "argument --json: needs --out"),
    ],
)  # fmt: skip
def test_wrong_usage(arguments, message, capsys):
    assert message in refusal(capsys, *arguments, code=2)


def test_exit_codes_of_processes(spiral, folder):
    assert_wrong_usage(run("fit", "X.npy", cwd=folder), "spiralnn fit: error: labels are missing")
    code, out, err = run("fit", "gone.npy", "y.npy", cwd=folder)
    assert (code, out) == (1, []) and err == ["spiralnn fit: error: cannot read 'gone.npy': No such file or directory"]
    for name in ("fit", "predict"):
        code, out, err = run(name, "--help", cwd=folder)
        assert (code, err) == (0, []) and f"  spiralnn {name} " in "\n".join(out)
