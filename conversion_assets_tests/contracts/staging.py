"""What every staging must do, whoever fetches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from conversion_assets.errors import ConversionAssetsError, OrderError, PoisonedInputError
from conversion_assets.orders import Order
from conversion_assets.resources.staging import StagedCopy, Staging
from conversion_assets.stac.checksums import Checksum
from conversion_assets_tests.resources.http_files import HttpFiles
from conversion_assets_tests.safe.products import S1_NAME, product

CONTENT = bytes(range(256)) * 40
ARCHIVE = f"{S1_NAME}.zip"
KEY = "order-1_a.b"


@dataclass(frozen=True)
class StagingBench:
    """A staging on the test bench, and what the tests must see of it from outside.

    Attributes:
        staging: may fetch from ``site`` and from this machine.
        site: where the sources are.
        folder: the order's own.
        leftovers: lists what is kept elsewhere for any order.
    """

    staging: Staging
    site: HttpFiles
    folder: Path
    leftovers: Callable[[], Iterable[object]]

    def order(self, path: str = ARCHIVE, /, **facts: object) -> Order:
        href = path if "://" in path else self.site.url(path)
        known = {"key": KEY, "item_id": "X", "href": href, "derived_from": href, "owner": "tester"}
        return Order.model_validate(known | facts)

    def stage(self, order: Order) -> StagedCopy:
        return self.staging.stage(order, self.folder, lambda _: None)


def checksum_of(content: bytes) -> Checksum:
    return Checksum(algorithm="sha256", digest=sha256(content).hexdigest())


class StagingContract:
    """The tests; a module that has a subclass has a fixture ``bench``."""

    def test_archive_is_copied_under_its_name_and_verified(self, bench: StagingBench) -> None:
        bench.site.add(ARCHIVE, CONTENT)
        order = bench.order(checksum=checksum_of(CONTENT), size=len(CONTENT))
        copy = bench.stage(order)
        assert copy.path == bench.folder / ARCHIVE
        assert copy.path.read_bytes() == CONTENT
        assert (copy.files, copy.total_bytes) == (1, len(CONTENT))

    def test_copy_elsewhere_is_told_until_it_is_released(self, bench: StagingBench) -> None:
        bench.site.add(ARCHIVE, CONTENT)
        order = bench.order()
        bench.stage(order)
        told = [kept.key for kept in bench.staging.kept()]
        assert told == ([order.key] if list(bench.leftovers()) else [])
        bench.staging.release(order)
        assert list(bench.staging.kept()) == []

    def test_nothing_is_left_after_the_release(self, bench: StagingBench) -> None:
        bench.site.add(ARCHIVE, CONTENT)
        order = bench.order()
        copy = bench.stage(order)
        bench.staging.release(order)
        assert list(bench.leftovers()) == []
        assert copy.path.read_bytes() == CONTENT
        bench.staging.release(order)

    def test_order_that_was_never_staged_is_released(self, bench: StagingBench) -> None:
        bench.staging.release(bench.order())
        assert list(bench.leftovers()) == []

    def test_staged_order_may_be_staged_again(self, bench: StagingBench) -> None:
        bench.site.add(ARCHIVE, CONTENT)
        order = bench.order()
        first = bench.stage(order)
        assert bench.stage(order).path == first.path
        assert first.path.read_bytes() == CONTENT

    def test_changed_source_is_fetched_anew(self, bench: StagingBench) -> None:
        served = bench.site.add(ARCHIVE, CONTENT)
        bench.stage(bench.order(updated="2024-01-01T00:00:00Z"))
        served.content = CONTENT[::-1]
        copy = bench.stage(bench.order(updated="2024-01-02T00:00:00Z"))
        assert copy.path.read_bytes() == CONTENT[::-1]

    @pytest.mark.parametrize("facts", [{"checksum": checksum_of(b"other")}, {"size": len(CONTENT) - 1}])
    def test_archive_that_is_not_the_announced_one_is_poisoned(
        self, bench: StagingBench, facts: dict[str, object]
    ) -> None:
        bench.site.add(ARCHIVE, CONTENT)
        with pytest.raises(PoisonedInputError, match="announce"):
            bench.stage(bench.order(ARCHIVE, **facts))
        assert not (bench.folder / ARCHIVE).exists()
        assert list(bench.leftovers()) == []

    def test_source_that_is_not_there_is_told(self, bench: StagingBench) -> None:
        with pytest.raises(ConversionAssetsError, match="404"):
            bench.stage(bench.order("absent.SAFE.zip"))
        assert not (bench.folder / "absent.SAFE.zip").exists()
        assert list(bench.leftovers()) == []

    @pytest.mark.parametrize("href", ["ftp://example.org/x.zip", "http://localhost:9/x.SAFE.zip"])
    def test_source_that_is_not_allowed_is_not_asked_for(self, bench: StagingBench, href: str) -> None:
        with pytest.raises(OrderError):
            bench.stage(bench.order(href))
        assert list(bench.leftovers()) == []

    def test_folder_of_this_machine_is_copied(self, bench: StagingBench, tmp_path: Path) -> None:
        source = product(tmp_path / "source")
        order = bench.order(source.as_uri())
        copy = bench.stage(order)
        assert copy.path == bench.folder / source.name
        assert copy.files == 4
        bench.staging.release(order)
        assert source.is_dir()
