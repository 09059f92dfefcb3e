from __future__ import annotations

import pickle

import pytest

from conversion_assets.errors import (
    ConversionAssetsError,
    OrderError,
    OrderInterruptedError,
    PermanentError,
    PoisonedInputError,
    TransientError,
)


@pytest.mark.parametrize(
    "error",
    [
        *(kind("a file", "is bad", "Mend it.") for kind in (TransientError, PermanentError, OrderError)),
        PoisonedInputError("a\udcff name", "is bad: \udcff", "Mend it."),
        OrderInterruptedError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_error_is_the_same_in_another_process(error: ConversionAssetsError) -> None:
    arrived = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert (arrived.subject, arrived.rule, arrived.way_out) == (error.subject, error.rule, error.way_out)
