"""One order through the installed command, as a collector of traces sees it."""

from __future__ import annotations

from pathlib import Path

import pytest

from conversion_assets_tests.end_to_end.command import convert
from conversion_assets_tests.end_to_end.shared import make_small
from conversion_assets_tests.otlp_receiver import receiving
from conversion_assets_tests.safe_products import ProductKind

STEPS = ["staged_safe_item", "unzipped_safe", "zarr_product", "stac_item", "published_item"]


def test_order_is_one_trace_from_the_command_to_publication(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_small(ProductKind.S3_OL_ERR, tmp_path / "input")
    with receiving() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        ended = convert(folder, home=tmp_path / "home")
    assert ended.code == 0, ended.stderr
    (result,) = ended.orders
    order = collector.one("order")
    assert order.parent == ""
    assert {span.trace for span in collector.spans} == {order.trace}
    assert not any(span.failed for span in collector.spans)
    assert [span.name for span in collector.spans if span.parent == order.id] == STEPS
    assert collector.one("conversion process").parent == collector.one("zarr_product").id
    assert collector.one("catalogue publish").parent == collector.one("published_item").id
    assert order.attributes["conversion_assets.partition"] == result["order"]
    types = {name: collector.one(name).attributes.get("conversion_assets.product_type") for name in STEPS[1:]}
    assert types == dict.fromkeys(STEPS[1:], result["product_type"])
    begin = min(span.start for span in collector.spans if span.name in STEPS)
    assert order.start <= begin <= collector.one("published_item").end <= order.end
