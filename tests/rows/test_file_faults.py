"""Files that change, are cut, vanish or cannot be read, at rest and during a run; and rows that are wrong."""

import errno
import os
import pickle
import re
import shutil

import numpy as np
import pytest
from row_files import cut, digest, model, open_in, rows, saved

from spiralnn import RowsError, open_rows

LONG_AGO = 10**18  # nanoseconds: no clock that ticks slowly takes what is written now for as old


def old(paths):
    for path in paths:
        os.utime(path, ns=(LONG_AGO, LONG_AGO))
    return paths


def truncated(path):
    os.truncate(path, os.path.getsize(path) // 2)


def grown(path):
    with open(path, "ab") as file:
        file.write(b"more")


def touched(path):
    os.utime(path, ns=(LONG_AGO, LONG_AGO + 1))


def overwritten(path):
    with open(path, "r+b") as file:
        file.seek(200)
        file.write(b"x")


def replaced(path):
    shutil.copy2(path, f"{path}.new")
    os.replace(f"{path}.new", path)


def deleted(path):
    os.unlink(path)


def unreadable(path):
    """What the system cannot read from, not even for root."""
    os.unlink(path)
    os.mkdir(path)


FAULTS = {
    truncated: r"the file has \d+ bytes, but had \d+ when it was opened",
    grown: r"the file has \d+ bytes, but had \d+ when it was opened",
    touched: "the file was written to since it was opened",
    overwritten: "the file was written to since it was opened",
    replaced: "another file has taken its place since it was opened",
    deleted: "No such file or directory",
    unreadable: "Is a directory",
}
faults = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)


@pytest.fixture
def files(tmp_path):
    X, y, weights = rows(1500)
    return old(cut(X, tmp_path, "X")), old(cut(y, tmp_path, "y", seed=1)), old(saved(tmp_path, w=weights))


def restore(path, backup):
    if os.path.isdir(path):
        os.rmdir(path)
    shutil.copy(backup, path)


@faults
def test_a_file_that_is_no_longer_what_it_was(fault, files):
    opened = open_rows(*files)
    path = files[0][3]
    fault(path)
    buffers = opened.buffers(1500)
    opened.features(0, 6, buffers)  # other files are still there
    with pytest.raises(RowsError, match=rf"^cannot read '{path}' at byte 128, row 0: {FAULTS[fault]}$"):
        opened.features(6, 7, buffers)
    elsewhere, buffers = pickle.loads(pickle.dumps(opened)), opened.buffers(1500)
    if fault is replaced:  # a copy, as another machine may have it
        np.testing.assert_array_equal(elsewhere.features(0, 1500, buffers), rows(1500)[0])
    else:
        with pytest.raises(RowsError, match=FAULTS[fault]):
            elsewhere.features(6, 7, buffers)


@faults
@pytest.mark.parametrize("solver", ["gd", "lbfgs"])
@pytest.mark.parametrize("which", [0, 1, 2], ids=["X", "y", "weights"])
def test_during_a_run_one_error_names_it_and_the_run_can_go_on(fault, solver, which, files, tmp_path, small_pieces):
    wanted = digest(model("network", solver).fit(open_rows(*files)))
    path, checkpoint = files[which][-1], tmp_path / "run.ckpt"
    shutil.copy(path, tmp_path / "backup")

    def spoil(step, loss, fitted):
        if step == 1:
            fault(path)

    with pytest.raises(RowsError, match=f"cannot read '{path}' at byte .*: {FAULTS[fault]}$"):
        model("network", solver, callback=spoil).fit(open_rows(*files), checkpoint=checkpoint, checkpoint_every=0)
    restore(path, tmp_path / "backup")
    gone_on = model("network", solver).fit(open_rows(*files), checkpoint=checkpoint, resume=True)
    assert digest(gone_on) == wanted


@pytest.mark.parametrize("fault", [truncated, deleted], ids=lambda fault: fault.__name__)
def test_a_mapped_file_that_is_cut_ends_no_process(fault, files, small_pieces):
    """Which it would if its pages were read where they are mapped."""
    X, y, _ = rows(1500)
    mapped = np.load(saved(files[0][0].parent, all=X)[0], mmap_mode="r")

    def spoil(step, loss, fitted):
        if step == 1:
            fault(mapped.filename)

    with pytest.raises(RowsError, match=f"cannot read '{mapped.filename}' at byte"):
        model("network", "lbfgs", callback=spoil).fit(open_rows(mapped[10:], y[10:]))


@pytest.fixture
def reading(monkeypatch):
    """Has os.preadv ask first; it is given path, buffer and place."""
    preadv = os.preadv

    def have(ask):
        def asked(descriptor, buffers, offset):
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            return preadv(descriptor, [ask(path, buffers[0], offset)], offset)

        monkeypatch.setattr(os, "preadv", asked)

    return have


def test_an_error_of_the_disk_is_told_with_file_byte_and_row(files, reading, small_pieces):
    path, reads = files[0][4], []

    def fail(found, view, offset):
        reads.extend([offset] if found == str(path) else [])
        if found == str(path) and len(reads) > 5:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return view

    reading(fail)
    opened = open_rows(*files)
    with pytest.raises(RowsError, match=rf"^cannot read '{path}' at byte \d+, row \d+: Input/output error$") as caught:
        model("linear", "gd").fit(opened)
    assert isinstance(caught.value.__cause__, OSError) and caught.value.__cause__.errno == errno.EIO
    words = str(caught.value).split()
    byte, row = int(words[words.index("byte") + 1].strip(",")), int(words[words.index("row") + 1].strip(":"))
    assert byte == 128 + row * 5 * 8
    assert byte == reads[5]
    assert not open_in(path.parent)


def test_a_disk_that_gives_little_at_a_time(files, reading):
    X = rows(1500)[0]
    reading(lambda path, view, offset: view[:1000])
    opened = open_rows(*files)
    np.testing.assert_array_equal(opened.features(0, 1500, opened.buffers(1500)), X)


def test_a_file_that_is_cut_while_it_is_read(files, reading):
    path = files[0][-1]

    def cut_it(found, view, offset):
        if found == str(path):
            os.truncate(path, 500)
        return view

    opened = open_rows(*files)
    reading(cut_it)
    with pytest.raises(RowsError, match=f"'{path}' at byte 500, row 9: the file has 500 bytes, but had"):
        opened.features(0, 1500, opened.buffers(1500))


def test_a_file_that_changes_while_it_is_read(files, reading):
    path = files[0][-1]

    def change(found, view, offset):
        if found == str(path):
            overwritten(path)
        return view

    opened = open_rows(*files)
    reading(change)
    with pytest.raises(RowsError, match="the file was written to since it was opened"):
        opened.features(0, 1500, opened.buffers(1500))


def test_a_read_that_ends_early_though_the_file_is_whole(files, monkeypatch):
    opened = open_rows(*files)
    monkeypatch.setattr(os, "preadv", lambda *_: 0)
    with pytest.raises(RowsError, match="X-1.npy' at byte 128, row 0: 40 more bytes are expected there, but none came"):
        opened.features(0, 1, opened.buffers(1))


# ------------------------------------------------------------------------------------------------ rows that are wrong


def fit_error(X, y, weights, n_threads, tmp_path, error=ValueError, **validation):
    for name in ("X", "y", "w"):
        for path in tmp_path.glob(f"{name}-*.npy"):
            path.unlink()
    sizes = {"X": [6, 494, 700, 300], "y": [1000, 500], "w": [1500]}
    paths = [cut(array, tmp_path, name, sizes[name]) for name, array in (("X", X), ("y", y), ("w", weights))]
    opened = open_rows(*paths)
    with pytest.raises(error) as caught:
        model("linear", "gd", n_threads=n_threads).fit(opened, **validation)
    return str(caught.value).replace(str(tmp_path) + os.sep, "")


@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_the_first_row_that_is_wrong_is_told(n_threads, tmp_path, small_pieces):
    X, y, weights = rows(1500)
    X[[607, 1400], 2] = np.nan
    for _ in range(3):  # whichever thread comes first
        message = fit_error(X, y, weights, n_threads, tmp_path)
        assert message == "X holds NaN at [607, 2], expected finite numbers (row 107 of 'X-2.npy')"
    weights[90] = -1.0
    message = fit_error(X, y, weights, n_threads, tmp_path)
    assert message == (
        "Negative values in data passed to `sample_weight`: -1 at [90], expected at least 0 (row 90 of 'w-0.npy')"
    )
    X[3, 4] = np.inf
    message = fit_error(X, y, weights, n_threads, tmp_path)
    assert message == "X holds infinity at [3, 4], expected finite numbers (row 3 of 'X-0.npy')"


def test_numbers_beyond_float32_are_infinite(tmp_path, small_pieces):
    X, y, weights = rows(1500)
    fitted = model("linear", "gd").fit(X.astype(np.float32), y)
    X[700, 1] = 1e300
    with pytest.raises(ValueError, match=r"validation: X holds infinity at \[700, 1\].* \(row 700 of '.*V.npy'\)"):
        fitted.fit(X.clip(-9, 9).astype(np.float32), y, validation=open_rows(*saved(tmp_path, V=X, v=y)))


def test_labels_outside_the_classes_are_told_with_their_place(tmp_path, small_pieces):
    X, y, weights = rows(1500)
    strange = y.copy()
    strange[[1200, 1001]] = 7, 9
    judged = open_rows(cut(X, tmp_path, "V", [1500]), cut(strange, tmp_path, "v", [1000, 500]))
    with pytest.raises(ValueError, match=r"^validation: y holds label 9, .* classes .* \(row 1 of '.*v-1.npy'\)$"):
        model("linear", "gd").fit(X, y, validation=judged)
    message = fit_error(X, y + 0.5 * (np.arange(1500) > 1100), weights, 2, tmp_path)
    assert re.match(r"Unknown label type: continuous.* \(from row \d+ of 'y-\d.npy' on\)$", message)
