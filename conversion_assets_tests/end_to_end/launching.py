"""Runs launched and ended through the GraphQL of the web interface, as its buttons do it."""

from __future__ import annotations

import httpx

LAUNCH = """
mutation($params: ExecutionParams!) {
  launchRun(executionParams: $params) { __typename ... on LaunchRunSuccess { run { runId } } }
}
"""
TERMINATE = """
mutation($run: String!) { terminateRun(runId: $run) { __typename } }
"""


def launch(url: str, key: str) -> str:
    """Launch the job for an order; give the id of its run."""
    selector = {
        "repositoryName": "__repository__",
        "repositoryLocationName": "conversion_assets",
        "jobName": "convert",
    }
    tags = [{"key": "dagster/partition", "value": key}]
    params = {"selector": selector, "mode": "default", "executionMetadata": {"tags": tags}}
    launched = _ask(url, LAUNCH, params=params)["launchRun"]
    assert isinstance(launched, dict)
    assert launched["__typename"] == "LaunchRunSuccess", launched
    return str(launched["run"]["runId"])


def terminate(url: str, run_id: str) -> None:
    """Ask a run to end."""
    _ask(url, TERMINATE, run=run_id)


def _ask(url: str, query: str, **variables: object) -> dict[str, object]:
    answer = httpx.post(f"{url}/graphql", json={"query": query, "variables": variables}, timeout=60)
    answer.raise_for_status()
    document: dict[str, dict[str, object]] = answer.json()
    assert "errors" not in document, document
    return document["data"]
