"""What `diagnose` writes is readable by whoever asked for it, whatever stood in its place."""

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from gathering import gathered

from reranker_operator import diagnose
from reranker_operator.cli import main
from reranker_operator.diagnose.archive import write_archive
from reranker_operator.diagnose.files import write_private
from reranker_operator.diagnose.redact import Redactor


@pytest.fixture(params=["--archive", "--output"])
def write(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    async def made(asked: diagnose.Request) -> str:
        if asked.archive is not None:
            write_archive(asked.archive, gathered(), "the report", Redactor([]))
        return "the report"

    def run(path: Path) -> None:
        result = CliRunner().invoke(main, ["diagnose", "search/docs", request.param, str(path)])
        assert result.exit_code == 0, result.output
        if request.param == "--output":
            assert path.read_text() == "the report"
        else:
            with tarfile.open(path) as packed:
                assert "report.txt" in packed.getnames()

    monkeypatch.setattr(diagnose, "diagnose", made)
    return run


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_new_file_is_its_owners_alone(write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path / "file")
    assert mode(tmp_path / "file") == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_an_old_file_that_anybody_may_read_does_not_stay_so(write: Callable[[Path], None], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    file.chmod(0o644)
    write(file)
    assert mode(file) == 0o600


def test_a_link_is_replaced_and_not_followed(write: Callable[[Path], None], tmp_path: Path) -> None:
    file, target = tmp_path / "file", tmp_path / "precious"
    target.write_text("precious")
    target.chmod(0o644)
    file.symlink_to(target)
    write(file)
    assert not file.is_symlink()
    assert (target.read_text(), mode(target), mode(file)) == ("precious", 0o644, 0o600)


def test_a_device_is_written_into_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_private(pipe, b"the report")
        assert os.read(reading, 100) == b"the report"
    finally:
        os.close(reading)
    assert pipe.is_fifo()


@pytest.mark.parametrize("place", ["folder", "nowhere/file"])
def test_what_cannot_be_written_is_named_and_nothing_is_left(tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=f"{tmp_path}/{place}'$") as raised:
        write_private(tmp_path / place, b"the report")
    assert len(str(raised.value).splitlines()) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]
