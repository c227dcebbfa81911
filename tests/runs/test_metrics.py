"""`metrics.csv` is read however it was damaged."""

from pathlib import Path

import pytest

from ssl_lightning.runs.metrics import Metrics

WHOLE = b"step,train/loss,val/loss\r\n2,3.5,\r\n4,2.5,2.25\r\n6,1.5,\r\n"


@pytest.mark.parametrize(
    ("content", "steps", "damaged"),
    [
        (WHOLE, [2, 4, 6], 0),
        (b"", [], 0),
        (WHOLE[:-6], [2, 4], 1),  # a number is cut
        (WHOLE[:-2], [2, 4], 1),
        (WHOLE.replace(b"4,2.5", b"x,2.5"), [2, 6], 1),
        (WHOLE.replace(b"2.5,2.25", b"2.5"), [2, 6], 1),
        (WHOLE.replace(b"2.25", b"\0\0\0\0"), [2, 6], 1),
        (WHOLE.replace(b"2.25", b"\xff\xfe"), [2, 6], 1),
        (WHOLE.replace(b"step", b"garb"), [], 3),
        (b"\0" * 4096, [], 0),
        (b"\x89PNG\r\n\x1a\n" + WHOLE, [], 5),
    ],
)
def test_rows_that_can_be_read_are_kept(tmp_path: Path, capsys, content: bytes, steps: list[int], damaged: int) -> None:
    path = tmp_path / "metrics.csv"
    path.write_bytes(content)
    metrics = Metrics(path, step=10)
    assert list(metrics.rows) == steps
    said = capsys.readouterr().out.splitlines()
    assert len(said) == (damaged > 0)
    assert all(f"{path} is damaged: {damaged} of its" in line for line in said)
    metrics.save()
    assert Metrics(path, step=10).rows == metrics.rows
