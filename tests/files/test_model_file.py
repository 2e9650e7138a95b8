"""Model files: what was saved comes back to the last bit, and anything else is one clear error that runs nothing."""

import copy
import errno
import json
import os
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest
from classifiers import descents, over

from spiralnn import ModelFileError, TwoLayerNet, load, make_spiral
from spiralnn.files import array_file, whole_file

X, Y = make_spiral(10, 3, random_state=0)


class Frame:
    """The least of a DataFrame: named columns around an array."""

    def __init__(self, array, columns):
        self.array, self.columns = array, columns

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.array, dtype)


linear, network = descents(max_iter=5, hidden_size=4)
by_default = {"max_iter": None}

MODELS = {
    "linear float64": lambda: linear().fit(X, Y),
    "linear float32": lambda: linear().fit(X.astype(np.float32), Y),
    "network float64": lambda: network().fit(X, Y),
    "network float32": lambda: network().fit(X.astype(np.float32), Y),
    "string classes": lambda: linear().fit(X, np.array(["no", "yes", "später"])[Y]),
    "object classes": lambda: network().fit(X, np.array(["no", "yes", "später"], object)[Y]),
    "object integers": lambda: linear().fit(X, np.array([-(10**30), 0, 10**30], object)[Y]),
    "object floats": lambda: linear().fit(X, np.array([-1.0, 0.0, 2.0], object)[Y]),
    "object bools": lambda: linear().fit(X, np.array([False, True, True], object)[Y]),
    "strings that NumPy would shorten": lambda: linear().fit(X, np.array(["", "a", "a\0"], object)[Y]),
    "dates": lambda: linear().fit(X, np.array(["2000-01-01", "2001-01-01", "2002-01-01"], "datetime64[D]")[Y]),
    "column order": lambda: linear().fit(np.asfortranarray(X), Y),
    "bytes classes": lambda: linear().fit(X, np.array([b"no", b"yes", b"both"])[Y]),
    "bool classes": lambda: linear().fit(X, Y == 1),
    "any integers": lambda: network().fit(X, np.array([-(2**40), 7, 2**40])[Y]),
    "small integers": lambda: network().fit(X, Y.astype(np.int8)),
    "float classes": lambda: linear().fit(X, Y * 10.0),
    "feature names": lambda: network().fit(Frame(X, ["länge", "width"]), Y),
    "every argument": lambda: network(
        solver="gd", step_size=np.float64(0.5), reg=0, n_threads=np.int64(1), verbose=False, warm_start=True, tol=1e-9,
        init_scale=0.02, backend="reference", callback=print, init=(np.ones((2, 4)), [0] * 4, np.ones((4, 3)), [0] * 3),
    ).fit(X, Y),
    "converged": lambda: linear(solver="gd", step_size=0.0, tol=0.0).set_params(max_iter=50).fit(X, Y),
    "stopped at once": lambda: linear(callback=lambda *_: True).fit(X, Y),
    "linear by default": lambda: linear.by("auto", **by_default)().fit(X, Y),
    "network by default": lambda: network.by("auto", **by_default)().fit(X.astype(np.float32), Y),
    "every argument of batches": lambda: network.by("sgd")(
        batch_size=np.int64(8), learning_rate="adaptive", momentum=np.float32(0.5), nesterovs_momentum=False, beta_1=0,
        beta_2=0.5, epsilon=1e-3, shuffle=False, early_stopping=True, validation_fraction=0.5, n_iter_no_change=3,
    ).fit(X, Y),
    "rows to judge by": lambda: linear.by("auto")().fit(X, Y, validation=(X[::2], Y[::2])),
}  # fmt: skip


def fitted_state(model):
    """Every fitted attribute as bytes and types, so that equal states are equal to the last bit."""

    def flat(value):
        if isinstance(value, list):
            return [flat(v) for v in value]
        if isinstance(value, np.ndarray):
            return value.dtype, value.shape, value.tolist() if value.dtype.kind == "O" else value.tobytes()
        return type(value), repr(value)

    return {name: flat(v) for name, v in vars(model).items() if name.endswith("_")}


def saved_bytes(model, folder):
    model.save(folder / "model.npz")
    return (folder / "model.npz").read_bytes()


@pytest.mark.parametrize("case", MODELS)
def test_round_trip(case, tmp_path):
    model = MODELS[case]()
    model.save(tmp_path / "model.npz")
    loaded = load(tmp_path / "model.npz")
    assert type(loaded) is type(model)
    assert fitted_state(loaded) == fitted_state(model)
    of_the_run = {"callback": None, "init": None}
    assert loaded.get_params() == {**model.get_params(), **of_the_run}
    features = X.astype(model.coefs_[0].dtype)
    np.testing.assert_array_equal(loaded.predict(features), model.predict(features))
    np.testing.assert_array_equal(loaded.decision_function(features), model.decision_function(features))


@pytest.mark.parametrize("seed", [7, np.int64(7), None])
def test_a_seed_is_kept_and_a_generator_is_not(seed, tmp_path):
    model = linear().set_params(random_state=seed).fit(X, Y)
    model.save(tmp_path / "model.npz")
    assert load(tmp_path / "model.npz").random_state == seed
    model.set_params(random_state=np.random.RandomState(0)).save(tmp_path / "model.npz")
    assert load(tmp_path / "model.npz").random_state is None


def test_an_argument_that_is_a_dict_keeps_the_types_of_its_keys(tmp_path):
    weights = {0: 1.0, "one": np.float64(2.0), True: {np.int64(3): None}, None: "balanced"}
    model = linear().fit(X, Y)
    model.step_size = weights
    model.save(tmp_path / "model.npz")
    loaded = load(tmp_path / "model.npz").step_size
    assert loaded == weights
    assert [type(key) for key in loaded] == [int, str, bool, type(None)]


def test_a_loaded_model_is_an_estimator_that_goes_on(tmp_path):
    model = network(warm_start=True).fit(X, Y)
    model.save(tmp_path / "model.npz")
    loaded = load(tmp_path / "model.npz").fit(X, Y)
    assert fitted_state(loaded) == fitted_state(model.fit(X, Y))


def test_paths_of_every_kind_and_no_suffix_is_added(tmp_path):
    model = linear().fit(X, Y)
    for path in (tmp_path / "a", str(tmp_path / "b.model"), tmp_path / "c d.npz"):
        model.save(path)
        assert fitted_state(load(path)) == fitted_state(model)
    assert sorted(os.listdir(tmp_path)) == ["a", "b.model", "c d.npz"]


def test_saving_again_replaces_the_file(tmp_path):
    first = saved_bytes(linear().fit(X, Y), tmp_path)
    model = network().fit(X, Y)
    assert saved_bytes(model, tmp_path) != first
    assert fitted_state(load(tmp_path / "model.npz")) == fitted_state(model)
    assert os.listdir(tmp_path) == ["model.npz"]


@pytest.mark.parametrize("case", MODELS)
def test_the_file_holds_no_pickle(case, tmp_path):
    saved_bytes(MODELS[case](), tmp_path)
    with np.load(tmp_path / "model.npz", allow_pickle=False) as arrays:
        assert len(arrays.files) >= 5
        for name in arrays.files:
            assert arrays[name].dtype.kind != "O"  # an object array would raise here already
        header = json.loads(str(arrays["header"]))
    assert (header["format"], header["version"]) == ("spiralnn-model", 2)


def test_what_would_need_a_pickle_cannot_be_kept(tmp_path):
    model = linear().fit(X, Y)
    model.coefs_[0] = model.coefs_[0].astype(object)
    with pytest.raises(TypeError, match="coef_0 has dtype object, which a model file cannot keep without pickle"):
        model.save(tmp_path / "model.npz")
    assert os.listdir(tmp_path) == []


def test_a_header_too_long_to_be_read_again_is_not_written(tmp_path):
    model = linear().fit(X, Y)
    model.verbose = "x" * array_file.MAX_HEADER
    with pytest.raises(ValueError, match="the header would take"):
        model.save(tmp_path / "model.npz")
    assert os.listdir(tmp_path) == []


def test_a_model_that_is_not_fitted_cannot_be_saved(tmp_path):
    with pytest.raises(ValueError, match="This TwoLayerNet instance is not fitted yet"):
        TwoLayerNet().save(tmp_path / "model.npz")
    assert os.listdir(tmp_path) == []


# ------------------------------------------------------------------------------------------------ damage


def same_or_refused(content, folder, state):
    """Whether damaged content still loads, as the exact model; every error must be a ModelFileError."""
    path = folder / "damaged.npz"
    path.write_bytes(content)
    try:
        loaded = load(path)
    except ModelFileError as error:
        assert str(path) in str(error)
        return False
    assert fitted_state(loaded) == state
    return True


short_and_long = over(linear, pytest.param(network, marks=pytest.mark.long))


@short_and_long
def test_a_file_cut_at_any_byte_is_refused(make, tmp_path):
    model = make().fit(X, Y)
    content, state = saved_bytes(model, tmp_path), fitted_state(model)
    assert same_or_refused(content, tmp_path, state)
    for length in range(len(content)):
        assert not same_or_refused(content[:length], tmp_path, state)


@short_and_long
def test_a_flipped_bit_is_refused_or_changes_nothing(make, tmp_path):
    model = make().fit(X, np.array(["a", "b", "c"])[Y])
    content, state = saved_bytes(model, tmp_path), fitted_state(model)
    draw = np.random.RandomState(0)
    refused = 0
    for place in draw.choice(8 * len(content), 2000, replace=False):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        refused += not same_or_refused(bytes(damaged), tmp_path, state)
    assert 1500 < refused < 2000  # the rest are time stamps and the like, which nobody reads


def test_bytes_before_or_after_change_nothing_or_are_refused(tmp_path):
    model = linear().fit(X, Y)
    content, state = saved_bytes(model, tmp_path), fitted_state(model)
    for damaged in (b"x" * 100 + content, content + b"x" * 100, content + content, content[100:]):
        same_or_refused(damaged, tmp_path, state)


class Bomb:
    """Unpickling this makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def members_of(path):
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def write_members(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.fixture
def model_path(tmp_path):
    network().fit(X, Y).save(tmp_path / "model.npz")
    return tmp_path / "model.npz"


@pytest.fixture
def evil_path(tmp_path):
    return tmp_path / "evil.npz"


def test_a_pickle_in_disguise_is_not_opened(model_path, evil_path, tmp_path):
    marker = tmp_path / "executed"
    pickled = pickle.dumps(Bomb(marker))
    pickle.loads(pickled)  # it would work
    marker.rmdir()
    array = np.empty(3, object)
    array[:] = [Bomb(marker)] * 3
    np.save(tmp_path / "object.npy", array, allow_pickle=True)
    objects = (tmp_path / "object.npy").read_bytes()
    members = members_of(model_path)

    evil_path.write_bytes(pickled)
    with pytest.raises(ModelFileError, match="not a whole model file"):
        load(evil_path)
    for name in members:
        for content in (objects, pickled):
            write_members(evil_path, {**members, name: content})
            with pytest.raises(ModelFileError, match="not a whole model file"):
                load(evil_path)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["../evil.npy", "/tmp/evil.npy", "a/coef_0.npy", "a\\coef_0.npy", "coef_0", "x.txt"])
def test_path_names_and_strange_members_are_refused(name, model_path, evil_path, tmp_path):
    members = members_of(model_path)
    write_members(evil_path, {**members, name: members["coef_0.npy"]})
    with pytest.raises(ModelFileError, match="unexpected member"):
        load(evil_path)
    assert sorted(os.listdir(tmp_path)) == ["evil.npz", "model.npz"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_twice_is_refused(model_path, evil_path):
    members = members_of(model_path)
    write_members(evil_path, members)
    with zipfile.ZipFile(evil_path, "a") as archive:
        archive.writestr("coef_0.npy", members["coef_0.npy"])
    with pytest.raises(ModelFileError, match="unexpected member 'coef_0.npy'"):
        load(evil_path)


def refusal_of(path):
    """The message that refuses a file, found in no more memory than a few times the file's size."""
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError) as raised:
            load(path)
        assert tracemalloc.get_traced_memory()[1] < (1 << 20) + 4 * path.stat().st_size
    finally:
        tracemalloc.stop()
    return str(raised.value)


@pytest.mark.parametrize("member", ["coef_0.npy", "header.npy"])
def test_a_zip_bomb_is_refused_in_little_memory(member, model_path, evil_path, tmp_path):
    np.save(tmp_path / "zeros.npy", np.zeros(1 << 23))
    zeros = (tmp_path / "zeros.npy").read_bytes()
    members = members_of(model_path)
    with zipfile.ZipFile(evil_path, "w") as archive:
        for name, content in members.items():
            bomb = name == member
            archive.writestr(name, zeros if bomb else content, zipfile.ZIP_DEFLATED if bomb else zipfile.ZIP_STORED)
    del zeros
    assert evil_path.stat().st_size < 1 << 20
    assert "holds its arrays uncompressed" in refusal_of(evil_path)


@pytest.mark.parametrize(
    ("member", "size", "message"),
    [
        ("coef_0.npy", 10**6, "each in a place of its own"),
        ("coef_0.npy", 10**9, "each in a place of its own"),
        ("coef_0.npy", 10, "not a whole model file"),
        ("header.npy", 10**6, "not a whole model file"),
        ("header.npy", 10**9, "each in a place of its own"),
    ],
)
def test_a_member_that_lies_about_its_size_is_refused_in_little_memory(member, size, message, model_path, evil_path):
    # both sizes in the directory, which is what is read
    content = bytearray(model_path.read_bytes())
    entry = content.rindex(member.encode()) - 46
    assert content[entry:].startswith(b"PK\1\2")
    for at in (20, 24):
        content[entry + at : entry + at + 4] = size.to_bytes(4, "little")
    evil_path.write_bytes(content)
    assert message in refusal_of(evil_path)


def test_members_that_share_their_bytes_are_refused(model_path, evil_path):
    with zipfile.ZipFile(evil_path, "w") as archive:
        for name, content in members_of(model_path).items():
            archive.writestr(name, content)
        np.save(big := evil_path.with_suffix(".npy"), np.zeros(1 << 16))
        archive.writestr("big_0.npy", big.read_bytes())
        (info,) = (m for m in archive.infolist() if m.filename == "big_0.npy")
        for i in range(1, 100):
            twin = copy.copy(info)
            twin.filename = twin.orig_filename = f"big_{i}.npy"
            archive.filelist.append(twin)
    assert "each in a place of its own" in refusal_of(evil_path)


@pytest.mark.parametrize("zip64", [False, True])
def test_a_directory_of_countless_members_is_refused_in_little_memory(zip64, evil_path, monkeypatch):
    if zip64:
        monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    with zipfile.ZipFile(evil_path, "w") as archive:
        for i in range(20_000):
            archive.writestr(f"a{i}.npy", b"")
    monkeypatch.undo()
    content = bytearray(evil_path.read_bytes())
    assert (content[-42:-38] == b"PK\6\7") == zip64
    if zip64:
        content[-10:-6] = bytes(4)  # the size in the record that zipfile does not go by then
        evil_path.write_bytes(content)
    assert "its directory takes" in refusal_of(evil_path)


def test_compressed_members_are_refused_whatever_the_size_of_the_file(model_path, evil_path):
    write_members(evil_path, members_of(model_path), zipfile.ZIP_DEFLATED)
    evil_path.write_bytes(bytes(1 << 20) + evil_path.read_bytes())
    with pytest.raises(ModelFileError, match="holds its arrays uncompressed"):
        load(evil_path)


@pytest.mark.parametrize("claimed", ["(1000000000, 2)", "(1000000000000000, 2)", "(-1, 2)", "(2,)"])
def test_an_array_that_claims_another_shape_is_refused(claimed, model_path, evil_path):
    members = members_of(model_path)
    start, found, rest = members["coef_0.npy"].partition(b"(2, 4), }")
    assert found
    content = start + f"{claimed}, }}".encode() + rest.lstrip(b" ").rjust(len(rest) + 9 - len(claimed) - 3, b" ")
    write_members(evil_path, {**members, "coef_0.npy": content})
    assert "claims shape" in refusal_of(evil_path)


# -------------------------------------------------------------- right digests over wrong content


def set_first(values, i, value):
    values[i] = value


WRONG_MODELS = {
    "NaN weights": (lambda m: m.coefs_[0].__setitem__((0, 0), np.nan), "its parameters are not finite floats"),
    "infinite biases": (lambda m: m.intercepts_[1].__setitem__(0, np.inf), "its parameters are not finite floats"),
    "integer weights": (
        lambda m: (set_first(m.coefs_, 0, np.ones((2, 4), int)), set_first(m.intercepts_, 0, np.ones(4, int)),
                   set_first(m.coefs_, 1, np.ones((4, 3), int)), set_first(m.intercepts_, 1, np.ones(3, int))),
        "its parameters are not finite floats",
    ),
    "mixed dtypes": (lambda m: set_first(m.coefs_, 1, np.ones((4, 3), np.float32)), "do not fit together"),
    "another hidden size": (lambda m: set_first(m.coefs_, 1, np.ones((5, 3))), "do not fit together"),
    "a flat weight": (lambda m: set_first(m.coefs_, 0, np.ones(8)), "do not fit together"),
    "a scalar weight": (lambda m: set_first(m.coefs_, 0, np.array(1.0)), "its parts do not make a model"),
    "a bias as a row": (lambda m: set_first(m.intercepts_, 0, np.ones((1, 4))), "do not fit together"),
    "a layer missing": (lambda m: (m.coefs_.pop(), m.intercepts_.pop()), "its parts do not make a model"),
    "a layer more": (
        lambda m: (m.coefs_.append(np.ones((3, 3))), m.intercepts_.append(np.ones(3))),
        "unexpected arrays",
    ),
    "two classes of three": (lambda m: setattr(m, "classes_", m.classes_[:2]), "classes or feature names do not fit"),
    "three names for two columns": (
        lambda m: setattr(m, "feature_names_in_", np.array(["a", "b", "c"], object)),
        "classes or feature names do not fit",
    ),
    "one class": (
        lambda m: (set_first(m.coefs_, 1, np.ones((4, 1))), set_first(m.intercepts_, 1, np.ones(1)),
                   setattr(m, "classes_", m.classes_[:1])),
        "fewer than 2 classes",
    ),
    "no columns": (lambda m: set_first(m.coefs_, 0, np.ones((0, 4))), "its arrays are empty"),
    "a loss that is no number": (lambda m: setattr(m, "loss_curve_", [[1.0, 2.0]]), "its parts do not make a model"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_MODELS)
def test_parts_that_make_no_model_are_refused(case, tmp_path):
    tamper, message = WRONG_MODELS[case]
    model = network().fit(X, Y)
    tamper(model)
    model.save(tmp_path / "model.npz")
    with pytest.raises(ModelFileError, match=message) as raised:
        load(tmp_path / "model.npz")
    assert str(tmp_path / "model.npz") in str(raised.value)


def rewrite_header(path, target, **changes):
    """The file with a changed header, under a digest that is right for it unless another is given."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    header = {**json.loads(str(arrays.pop("header"))), **changes}
    header["digest"] = changes.get("digest") or array_file.digest(header, arrays)
    with open(target, "wb") as file:
        np.savez(file, header=np.array(json.dumps(header)), **arrays)


def test_rewriting_alone_changes_nothing(model_path, evil_path):
    rewrite_header(model_path, evil_path)
    assert fitted_state(load(evil_path)) == fitted_state(load(model_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 3, "digest": "of another kind"}, "format version 3, this spiralnn reads 2: read it with the"),
        ({"version": 1}, "format version 1, this spiralnn reads 2"),
        ({"version": None}, "format version None, this spiralnn reads 2"),
        ({"format": "other"}, "no model file: its header says 'other', expected 'spiralnn-model'"),
        ({"kind": "object"}, "its parts do not make a model"),
        ({"kind": ["TwoLayerNet"]}, "its parts do not make a model"),
        ({"kind": "SoftmaxClassifier", "params": {}}, "unexpected arrays"),
        ({"params": {"system": 1}}, "its parts do not make a model"),
        ({"params": [1]}, "its parts do not make a model"),
        ({"n_iter": "many"}, "its parts do not make a model"),
        ({"n_iter": float("inf")}, "its parts do not make a model"),
        ({"n_iter": None}, "its parts do not make a model"),
        ({"n_passes": "many"}, "its parts do not make a model"),
        ({"loss": None}, "its parts do not make a model"),
    ],
)
def test_headers_that_make_no_model_are_refused(changes, message, model_path, evil_path):
    rewrite_header(model_path, evil_path, **changes)
    with pytest.raises(ModelFileError, match=message) as raised:
        load(evil_path)
    assert str(evil_path) in str(raised.value)


def test_a_changed_header_under_the_old_digest_is_refused(model_path, evil_path):
    members = members_of(model_path)
    # strings lie in .npy files as four bytes a character
    old, new = (text.encode("utf-32-le") for text in ('"n_iter": 5', '"n_iter": 6'))
    assert old in members["header.npy"]
    write_members(evil_path, {**members, "header.npy": members["header.npy"].replace(old, new)})
    with pytest.raises(ModelFileError, match="its digest does not match its content"):
        load(evil_path)


def test_other_files_are_no_models(evil_path, tmp_path):
    for content in (b"", b"hello", bytes(1000), b"PK\x05\x06" + bytes(18)):
        evil_path.write_bytes(content)
        with pytest.raises(ModelFileError):
            load(evil_path)
    np.savez(evil_path, X=X)
    with pytest.raises(ModelFileError):
        load(evil_path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing.npz")
    with pytest.raises(OSError):
        load(tmp_path)


# ------------------------------------------------------------------------------ folders that cannot be written


def test_a_folder_that_cannot_be_written_is_an_os_error(tmp_path):
    model = linear().fit(X, Y)
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "missing" / "model.npz", tmp_path / "file" / "model.npz", tmp_path):
        with pytest.raises(OSError):
            model.save(path)
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is closed to this user")
def test_a_closed_folder_keeps_the_model_in_it(model_path, tmp_path):
    before = model_path.read_bytes()
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError):
            linear().fit(X, Y).save(model_path)
    finally:
        tmp_path.chmod(0o700)
    assert model_path.read_bytes() == before


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_save_that_fails_leaves_the_file_that_was_there(function, model_path, tmp_path, monkeypatch):
    before = model_path.read_bytes()

    def fail(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(whole_file.os, function, fail)
    with pytest.raises(OSError, match="No space left"):
        linear().fit(X, Y).save(model_path)
    monkeypatch.undo()
    assert model_path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.npz"]


def test_a_file_that_may_not_grow_leaves_the_file_that_was_there(model_path, tmp_path):
    resource = pytest.importorskip("resource")
    before = model_path.read_bytes()
    model = linear().fit(X, Y)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256, hard))
    try:
        with pytest.raises(OSError):
            model.save(model_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert model_path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.npz"]
