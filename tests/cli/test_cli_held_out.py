"""`spiralnn fit` with rows that are not trained on: to score the model, and to judge each step."""

import json

import numpy as np
import pandas as pd
import pytest
from calls import call, refusal, report, same_bits, table_text, write

import spiralnn

WORDS = np.array(["ant", "bee", "cat"])


# to score the model


def test_a_test_set_of_its_own(spiral, capsys):
    X, y = spiral
    np.save("X2.npy", X[:30] * 1.1)
    np.save("y2.npy", y[:30])
    fit = ("fit", "X.npy", "y.npy", "--hidden", 8, "--max-iter", 100, "--dtype", "float32")
    found = report(capsys, *fit, "--test", "X2.npy", "y2.npy")
    net = spiralnn.TwoLayerNet(hidden_size=8, max_iter=100, random_state=0).fit(X.astype(np.float32), y)
    assert found["test_accuracy"] == net.score((X[:30] * 1.1).astype(np.float32), y[:30])
    assert (found["N"], found["N_test"]) == (120, 30)
    code, out, _ = call(capsys, *fit, "--test", "X2.npy", "y2.npy")
    assert code == 0 and f"test accuracy: {found['test_accuracy']:.4f} (30 rows held out)\n" in out

    pd.DataFrame(X, columns=["a", "b"]).assign(kind=WORDS[y]).to_csv("train.csv", index=False)
    pd.DataFrame(X[:30], columns=["a", "b"]).assign(kind=WORDS[y[:30]]).to_parquet("test.parquet")
    found = report(capsys, "fit", "train.csv", "--target", "kind", "--test", "test.parquet", "--model", "linear")
    linear = spiralnn.SoftmaxClassifier(random_state=0).fit(X, y)
    assert found["test_accuracy"] == linear.score(X[:30], y[:30])


def test_faults_in_a_test_set(spiral, capsys):
    X, y = spiral
    np.save("X2.npy", X[:, :1])
    np.save("y2.npy", np.array([0, 7, 1]))
    np.save("X3.npy", X[:3])
    np.save("y3.npy", np.array([1, 1, 1]))
    assert report(capsys, "fit", "X.npy", "y.npy", "--model", "linear", "--test", "X3.npy", "y3.npy")["N_test"] == 3
    fit = ("fit", "X.npy", "y.npy", "--out", "model.npz", "--test")
    assert refusal(capsys, *fit, "X2.npy", "y.npy") == "y.npy: 1 inputs, but training has 2"
    assert refusal(capsys, *fit, "X.npy", "y2.npy") == "y2.npy: y has 3 labels, but X has 120 rows"
    assert refusal(capsys, *fit, "X3.npy", "y2.npy") == "y2.npy: label 7, but training has only 0, 1, 2"
    assert refusal(capsys, *fit, "gone.npy", "y2.npy").startswith("cannot read 'gone.npy'")
    write("train.csv", table_text(X, y, header="a,b,l"))
    write("test.csv", table_text(X, y, header="b,a,l"))
    message = refusal(capsys, "fit", "train.csv", "--target", "l", "--test", "test.csv")
    assert message == "test.csv: columns b, a, but training has a, b"


def test_a_share_of_the_rows(spiral, capsys):
    X, y = spiral
    fit = ("fit", "X.npy", "y.npy", "--hidden", 8, "--max-iter", 200)
    found = report(capsys, *fit, "--test-fraction", 0.25, "--seed", 3, "--out", "model.npz")
    assert (found["N"], found["N_test"]) == (90, 30)
    assert report(capsys, *fit, "--test-fraction", 0.25, "--seed", 3)["loss"] == found["loss"]
    assert report(capsys, *fit, "--test-fraction", 0.25, "--seed", 4)["loss"] != found["loss"]
    # the parts make up the whole: right answers over both are those over all rows
    right = found["train_accuracy"] * 90 + found["test_accuracy"] * 30
    assert right == pytest.approx(spiralnn.load("model.npz").score(X, y) * 120)
    # and the model is that of the rows it says
    order = np.random.default_rng(3).permutation(120)
    kept = np.sort(order[30:])
    net = spiralnn.TwoLayerNet(hidden_size=8, max_iter=200, random_state=3).fit(X[kept], y[kept])
    assert same_bits("model.npz", net)
    assert found["test_accuracy"] == net.score(X[order[:30]], y[order[:30]])


def test_a_class_does_not_vanish_into_the_held_out_rows(spiral, capsys):
    X, _ = spiral
    y = np.array(["usual", "other"] * 60)
    y[5] = "rare"
    np.save("y.npy", y)
    messages = set()
    for seed in range(20):
        fit = ("fit", "X.npy", "y.npy", "--model", "linear", "--max-iter", 2, "--test-fraction", 0.5, "--seed", seed)
        code, out, err = call(capsys, *fit, "--json")
        if code == 0:
            assert json.loads(out)["K"] == 3
        else:
            messages.add(err.replace(f"--seed {seed}", "--seed S"))
    assert messages == {
        "spiralnn fit: error: y.npy: --test-fraction 0.5 with --seed S leaves no row of class 'rare' to train with; "
        "try another --seed or a smaller fraction\n"
    }
    message = refusal(capsys, "fit", "X.npy", "y.npy", "--test-fraction", 0.001)
    assert message == "--test-fraction 0.001 of 120 rows is 0, expected 1 to 119"


# to judge each step


def test_early_stopping_by_a_share_of_the_rows(spiral, capsys):
    X, y = spiral
    weights = np.linspace(1.0, 2.0, 120)
    np.save("w.npy", weights)
    fit = ("fit", "X.npy", "y.npy", "--solver", "adam", "--hidden", 8, "--early-stopping", "--sample-weight", "w.npy")
    found = report(capsys, *fit, "--validation-fraction", 0.2, "--n-iter-no-change", 4, "--out", "model.npz")
    net = spiralnn.TwoLayerNet(
        solver="adam", hidden_size=8, early_stopping=True, validation_fraction=0.2, n_iter_no_change=4, random_state=0
    ).fit(X, y, weights)
    assert same_bits("model.npz", net)
    assert (found["early_stopping"], found["N"], found["N_validation"], found["N_test"]) == (True, 120, 24, 0)
    assert found["best_validation_accuracy"] == net.best_validation_score_ == max(net.validation_scores_)
    assert found["n_iter"] == net.n_iter_ < found["max_iter"] and not found["interrupted"]
    code, out, err = call(capsys, *fit[:-2])
    default = spiralnn.TwoLayerNet(solver="adam", hidden_size=8, early_stopping=True, random_state=0).fit(X, y)
    line = f"best validation accuracy: {default.best_validation_score_:.4f} (12 rows)\n"
    assert (code, err) == (0, "") and line in out


@pytest.mark.parametrize("solver", ["gd", "lbfgs"])
def test_validation_rows_of_their_own(solver, spiral, capsys):
    X, y = spiral
    np.save("X2.npy", X[:30] * 1.1)
    np.save("y2.npy", y[:30])
    fit = ("fit", "X.npy", "y.npy", "--solver", solver, "--hidden", 8, "--max-iter", 25, "--out", "model.npz")
    seen = ("--validation", "X2.npy", "y2.npy")
    for stops in (False, True):
        found = report(capsys, *fit, *seen, *["--early-stopping"] * stops, "--test", "X2.npy", "y2.npy")
        net = spiralnn.TwoLayerNet(solver=solver, hidden_size=8, max_iter=25, early_stopping=stops, random_state=0)
        net.fit(X, y, validation=(X[:30] * 1.1, y[:30]))
        assert same_bits("model.npz", net)
        assert (found["early_stopping"], found["N_validation"], found["N_test"]) == (stops, 30, 30)
        assert found["best_validation_accuracy"] == net.best_validation_score_
        if stops:  # the model is the best one
            assert found["test_accuracy"] == found["best_validation_accuracy"]
    code, out, err = call(capsys, *fit, *seen, "--verbose", 10)
    assert (code, err) == (0, "")
    log = [line for line in out.splitlines() if line.startswith("iteration ")]
    net.set_params(early_stopping=False).fit(X, y, validation=(X[:30] * 1.1, y[:30]))
    assert log == [
        f"iteration {i}: loss {net.loss_curve_[i]:f}, validation loss {net.validation_loss_curve_[i]:f}, "
        f"accuracy {net.validation_scores_[i]:.4f}"
        for i in range(0, net.n_iter_, 10)
    ]


def test_a_validation_table(spiral, capsys):
    X, y = spiral
    pd.DataFrame(X, columns=["a", "b"]).assign(kind=WORDS[y]).to_csv("train.csv", index=False)
    pd.DataFrame(X[:30], columns=["a", "b"]).assign(kind=WORDS[y[:30]]).to_parquet("seen.parquet")
    fit = ("fit", "train.csv", "--target", "kind", "--model", "linear", "--solver", "lbfgs", "--dtype", "float32")
    found = report(capsys, *fit, "--validation", "seen.parquet", "--test-fraction", 0.25, "--out", "model.npz")
    kept = np.sort(np.random.default_rng(0).permutation(120)[30:])
    X = X.astype(np.float32)
    linear = spiralnn.SoftmaxClassifier(solver="lbfgs", random_state=0)
    linear.fit(X[kept], WORDS[y][kept], validation=(X[:30], WORDS[y[:30]]))
    assert same_bits("model.npz", linear)
    assert found["best_validation_accuracy"] == linear.best_validation_score_
    assert (found["N"], found["N_validation"], found["N_test"]) == (90, 30, 30)


def test_faults_in_validation_rows(spiral, capsys):
    X, y = spiral
    np.save("narrow.npy", X[:, :1])
    np.save("X3.npy", X[:3])
    np.save("y3.npy", np.array([0, 7, 1]))
    fit = ("fit", "X.npy", "y.npy", "--out", "model.npz")
    assert refusal(capsys, *fit, "--validation", "narrow.npy", "y.npy") == "y.npy: 1 inputs, but training has 2"
    assert refusal(capsys, *fit, "--validation", "X.npy", "y3.npy") == "y3.npy: y has 3 labels, but X has 120 rows"
    message = refusal(capsys, *fit, "--validation", "X3.npy", "y3.npy")
    assert message == "y3.npy: label 7, but training has only 0, 1, 2"
    assert refusal(capsys, *fit, "--validation", "gone.npy", "y3.npy").startswith("cannot read 'gone.npy'")
    message = refusal(capsys, "fit", "X.npy", "y.npy", "--out", "X3.npy", "--validation", "X3.npy", "y3.npy")
    assert message.endswith("it is read by this command")


def test_faults_in_a_validation_fraction(spiral, capsys):
    fit = ("fit", "X.npy", "y.npy", "--early-stopping", "--validation-fraction")
    for fraction, what in (("0.001", "held out"), ("0.999", "left to train on")):
        message = refusal(capsys, *fit, fraction)
        assert message.startswith(f"y.npy: validation_fraction is {fraction}, but of the 40 rows of class number 0 ")
        assert f" none would be {what}: " in message
