"""What the upstream services answer, as tests that run against the real services and against our peers."""

import pytest

pytest.register_assert_rewrite(
    f"{__name__}.bucket_rules", f"{__name__}.catalogue", f"{__name__}.staging", f"{__name__}.dpr"
)
