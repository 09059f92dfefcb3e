from __future__ import annotations

import dagster as dg
import pytest

from conversion_assets.resources.s3_object_store import S3ObjectStore
from conversion_assets.resources.s3_storage import S3Storage
from conversion_assets.resources.source_credentials import SourceCredentials
from conversion_assets.resources.staging import CopyStaging
from conversion_assets.storage.access import S3Access


def test_secrets_come_from_the_environment_and_stand_nowhere(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: object
) -> None:
    monkeypatch.setenv("KEY", "canary-key")
    monkeypatch.setenv("SECRET", "canary-secret")
    seen: list[S3Access] = []

    @dg.op
    def use(object_store: S3ObjectStore, staging: CopyStaging, plain: CopyStaging) -> str:
        assert plain.credentials is None
        assert staging.credentials
        assert staging.credentials.storage
        seen.extend([object_store.storage.access(), staging.credentials.storage.access()])
        return f"{object_store!r} {staging!r} {staging.credentials} {seen}"

    storage = S3Storage(aws_access_key_id=dg.EnvVar("KEY"), aws_secret_access_key=dg.EnvVar("SECRET"))
    resources = {
        "object_store": S3ObjectStore(root=str(tmp_path), storage=storage),
        "staging": CopyStaging(schemes=["s3"], credentials=SourceCredentials(storage=storage)),
        "plain": CopyStaging(schemes=["s3"]),
    }

    @dg.job(resource_defs=resources)
    def job() -> None:
        use()

    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance)
        events = [str(event) for event in instance.all_logs(result.run_id)]
    assert len(seen) == 2
    for access in seen:
        assert (access.key, access.secret, access.token) == ("canary-key", "canary-secret", None)
    output = capfd.readouterr()
    assert "canary" not in f"{result.output_for_node('use')} {events} {output.out} {output.err}"
