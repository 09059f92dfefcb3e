from __future__ import annotations

import pytest

USUAL_STEPS = 1500


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--stateful-steps",
        type=int,
        default=USUAL_STEPS,
        help="how many steps the stateful test of the platform takes",
    )


@pytest.fixture
def stateful_steps(request: pytest.FixtureRequest) -> int:
    """Give how many steps are to be taken; the option is known where this folder is named."""
    return int(request.config.getoption("--stateful-steps", USUAL_STEPS))
