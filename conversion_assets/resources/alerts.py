"""Alerts: what a webhook is told when a run has failed for good, kept until the webhook has taken it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import dagster as dg
from pydantic import BaseModel, ConfigDict, ValidationError

from conversion_assets.errors import ConversionAssetsError, PermanentError, TransientError
from conversion_assets.orders import valid_key
from conversion_assets.resources.file_exchange import write_whole
from conversion_assets.web.client import WebClient

SERVICE = "alert webhook"
WEBHOOK_SECONDS = 8
DAYS_TO_DELIVER = 7
ACCEPTED = frozenset(range(200, 300))
SHORTEST_SECRET = 4


class Alert(BaseModel):
    """What the webhook is told, as JSON.

    Attributes:
        text: all of it in a sentence, as chat services show it.
        order: partition key; None where the run was of no order.
        error_class: ``transient``, ``permanent`` or ``poisoned``.
        reason: why it failed, with the way out.
        job: name of the job.
        run_id: the run that failed.
        when: when it failed.
        url: the run in the web interface, where its address is known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    order: str | None
    error_class: str
    reason: str
    job: str
    run_id: str
    when: datetime
    url: str | None = None


class Alerts(dg.ConfigurableResource):  # type: ignore[type-arg] # the resource provides itself
    """Tells a webhook, at least once; what cannot be told now is kept and told later.

    Attributes:
        root: folder of what has still to be told; the same for all runs.
        webhook: its URL; it counts as a secret. None tells nobody.
        ui_url: where people reach the web interface.
    """

    root: str
    webhook: str | None = None
    ui_url: str | None = None

    def url_of_run(self, run_id: str) -> str | None:
        """Give a run's page in the web interface."""
        return f"{self.ui_url.rstrip('/')}/runs/{run_id}" if self.ui_url else None

    def note(self, alert: Alert) -> None:
        """Keep an alert until it is told; without a webhook nothing is kept."""
        if self.webhook:
            write_whole(self._path(alert.run_id), alert.model_dump_json().encode())

    def pending(self, now: datetime) -> Iterator[Alert]:
        """Give what has still to be told, and give up what nobody has taken for a week."""
        for path in sorted(Path(self.root).glob("[!.]*.json")):
            try:
                alert = Alert.model_validate_json(path.read_bytes())
            except ValidationError:
                path.unlink()
                continue
            if alert.when < now - timedelta(days=DAYS_TO_DELIVER):
                path.unlink()
            else:
                yield alert

    def deliver(self, alert: Alert) -> None:
        """Tell the webhook, and keep the alert no longer.

        Raises:
            TransientError: the webhook cannot be reached, or is busy or broken.
            PermanentError: it refused, or its URL is none.
        """
        self._post(alert)
        self._path(alert.run_id).unlink(missing_ok=True)

    def _post(self, alert: Alert) -> None:
        parts = urlsplit(self.webhook or "")
        told = parts._replace(scheme="", netloc="", fragment="").geturl()
        body = alert.model_dump(mode="json")
        try:
            origin = f"{parts.scheme}://{parts.netloc}"
            secrets = _secret_parts(told)
            with WebClient(
                origin, service=SERVICE, timeout=WEBHOOK_SECONDS, retries=2, secrets=secrets
            ) as client:
                client.post(told, json=body, expect=ACCEPTED, repeat=True)
        except ConversionAssetsError as error:
            kind = TransientError if isinstance(error, TransientError) else PermanentError
            rule = error.rule
        else:
            return
        # The client names path and user, which are the secret of most webhooks.
        raise kind(SERVICE, rule, "See to the receiver, or correct CONVERSION_ASSETS_ALERT_WEBHOOK.")

    def _path(self, run_id: str) -> Path:
        return Path(self.root, f"{valid_key(run_id)}.json")


def _secret_parts(path: str) -> set[str]:
    parts = {part for name in path.split("?") for part in name.replace("&", "/").replace("=", "/").split("/")}
    return {part for part in (path, *parts) if len(part) >= SHORTEST_SECRET}
