"""What OSAM answers."""

from __future__ import annotations

from conversion_assets_tests.upstream_contracts.world import World, talking_to


class BucketRulesContract:
    def test_configuration_is_rows_of_five_texts(self, world: World) -> None:
        with talking_to(world.osam) as osam:
            answer = osam.get("/internal/configuration")
        assert answer.status_code == 200
        assert ["*", "*", "*", "100", world.bucket] in answer.json()
        assert all(len(row) == 5 and all(isinstance(cell, str) for cell in row) for row in answer.json())
