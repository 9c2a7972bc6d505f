"""The remedy for what a machine lacks is never the one for a mistake."""

import errno

import pytest

from geneveil.model.shortage import remedy_for


@pytest.mark.parametrize(
    ("number", "word"),
    [
        (errno.EMFILE, "LimitNOFILE"),
        (errno.ENFILE, "file-max"),
        (errno.ENOSPC, "free space"),
        (errno.EROFS, "mount"),
        (errno.EACCES, "as before"),
        (None, "as before"),
    ],
)
def test_the_remedy_fits(number: int | None, word: str) -> None:
    error = OSError(number, "x") if number is not None else OSError("x")
    assert word in remedy_for(error, "as before")
