"""Everything that an order has left or shown, piece by piece."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from conversion_assets_tests.end_to_end.command import PROGRAM
from conversion_assets_tests.end_to_end.everywhere import Visit, neutral
from conversion_assets_tests.end_to_end.secrets_in import Found, in_files, in_texts

RESOURCES = """{
  repositoriesOrError { ... on RepositoryConnection { nodes {
    allTopLevelResourceDetails {
      name description resourceType
      configFields { name defaultValueAsJson }
      configuredValues { key value type }
      nestedResources { name type }
    }
    jobs { name modes { resources { name description configField { defaultValueAsJson } } } }
  } } }
  runsOrError { ... on Runs { results { runId runConfigYaml tags { key value } } } }
  instance { info }
}"""


def shown_by_dagster(variables: Mapping[str, str], home: Path) -> str:
    """Ask Dagster's web interface for the configuration of all resources and runs."""
    ours = {"DAGSTER_HOME": str(home / "dagster"), "CONVERSION_ASSETS_HOME": str(home)}
    program = PROGRAM.with_name("dagster-graphql")
    done = subprocess.run(
        [str(program), "-m", "conversion_assets.definitions", "-t", RESOURCES],
        env=neutral() | dict(variables) | ours,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def pieces_of(visit: Visit, shown: str) -> Iterator[tuple[str, bytes]]:
    """Give all that an order has left or shown."""
    yield from ((f"home {name}", piece) for name, piece in in_files(visit.home))
    yield from ((f"objects {name}", piece) for name, piece in in_files(visit.objects))
    yield from ((f"product {name}", piece) for name, piece in in_files(visit.product))
    yield from in_texts(
        stdout=visit.ended.stdout, stderr=visit.ended.stderr, item=visit.item, asked=visit.asked, shown=shown
    )
    yield from in_texts(**visit.processes)


def kinds_of(found: Found) -> dict[str, set[str]]:
    """Give the kinds of places where something was found, by its name."""
    return {name: {_kind(place) for place in places} for name, places in found.items()}


def _kind(place: str) -> str:
    what, _, name = place.partition(" ")
    if what != "home":
        return what
    if ".db: " in name:
        return "database"
    return "log" if "compute_logs" in name else name.partition("/")[0].removesuffix("s")
