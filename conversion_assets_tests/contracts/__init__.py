"""What every implementation of a service must do, whichever it is."""

import pytest

pytest.register_assert_rewrite(
    f"{__name__}.catalogue",
    f"{__name__}.converter",
    f"{__name__}.input_source",
    f"{__name__}.object_store",
    f"{__name__}.staging",
)
