"""Every test in a working folder of its own; `reader`: each way to read text in turn."""

import pytest
from readers import READERS, reading


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(params=READERS)
def reader(request):
    if request.param == "pyarrow":
        pytest.importorskip("pyarrow")
    with reading(request.param):
        yield request.param
