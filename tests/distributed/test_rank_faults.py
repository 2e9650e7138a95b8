"""What befalls one rank ends the whole job, or is survived: with its number, the reason, and a good checkpoint."""

import re

import pytest
from mpi_jobs import data, digest, model
from mpi_launch import run

from spiralnn.rows.rows import Rows

WHENS = ("start", "step", "middle", "checkpoint")
QUICK = {
    ("mpich", "raise", "start"), ("mpich", "exit", "step"), ("mpich", "kill", "checkpoint"),
    ("mpich", "stop", "middle"), ("openmpi", "kill", "step"),
}  # fmt: skip
CASES = [("mpich", kind, when) for kind in ("raise", "exit", "kill", "stop") for when in WHENS]
CASES += [("openmpi", kind, when) for kind in ("raise", "exit", "kill", "stop") for when in WHENS]
# as ranks come to the fit: alone among the others, who have not met this one yet
CASES += [("mpich", "raise", "before"), ("openmpi", "raise", "before"), ("mpich", "stop", "before")]


@pytest.fixture(scope="module")
def whole():
    """The digest of the fit that nothing befalls. What ranks need is compiled then, which would be silence."""
    X, y, _ = data()
    found = digest(model("network", "gd", max_iter=50).fit(Rows.of(X, y)))
    assert found == digest(model("network", "gd", max_iter=50).fit(X, y))
    return found


def goes_on(path):
    """The digest of a fit that goes on from a checkpoint."""
    X, y, _ = data()
    return digest(model("network", "gd", max_iter=50).fit(X, y, checkpoint=path, resume=True))


@pytest.mark.parametrize(
    "library, kind, when",
    [pytest.param(*case, marks=() if case in QUICK else pytest.mark.long, id="-".join(case)) for case in CASES],
)
def test_a_fault_on_one_rank(library, kind, when, whole, tmp_path):
    path = tmp_path / "checkpoint"
    # a twelfth of the limit is told as silence
    environment = {"SPIRALNN_RANK_TIMEOUT": "36", "STOPPED_SECONDS": "5"}
    ended = run(library, 3, "fault", kind, when, path, environment=environment)
    culprit = 0 if when == "checkpoint" else 1
    if kind == "stop":
        assert ended.answer == {"digest": whole}
        assert re.search(rf"spiralnn: rank \d waits for rank {culprit}\b", ended.err, re.MULTILINE), ended
        return
    assert ended.code != 0, ended
    if kind == "raise":
        assert re.search(rf"rank {culprit}\b.*the culprit", ended.err), ended
    elif kind == "exit":
        assert re.search(rf"rank {culprit} \(process \d+ on .*\) is gone: its program ended", ended.err), ended
    elif library == "mpich":  # which ends all ranks within some milliseconds, and says a process at most
        places = re.search("spiralnn: ranks: (.*)$", ended.err, re.MULTILINE).group(1).split(", ")
        assert [re.fullmatch(rf"{i} is process \d+ on .+", place) is not None for i, place in enumerate(places)] == [
            True
        ] * 3
        assert "signal 9" in ended.out + ended.err
    else:
        assert f"rank {culprit}" in ended.err, ended
    # the first checkpoint comes after the first step, and may take longer to write than the job lasts then
    assert path.exists() or when in ("before", "start", "step")
    assert goes_on(path) == whole


@pytest.mark.long
def test_a_rank_that_stays_away_ends_the_job(tmp_path):
    environment = {"SPIRALNN_RANK_TIMEOUT": "3", "STOPPED_SECONDS": "40"}
    ended = run("mpich", 3, "fault", "stop", "middle", tmp_path / "checkpoint", environment=environment)
    assert ended.code != 0
    assert re.search(r"ends the job: rank 1 \(process \d+ on .*\) gave no sign for 3 s", ended.err), ended


@pytest.mark.long
def test_a_limit_that_is_no_number_is_told():
    ended = run("mpich", 2, "same_bits", "", environment={"SPIRALNN_RANK_TIMEOUT": "soon"})
    assert ended.code != 0
    assert "SPIRALNN_RANK_TIMEOUT is 'soon' in the environment, expected a positive number of seconds" in ended.err
