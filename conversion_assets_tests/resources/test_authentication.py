from __future__ import annotations

import json

import dagster as dg
import httpx
import pytest

from conversion_assets.errors import PermanentError
from conversion_assets.resources.authentication import Authentication
from conversion_assets.resources.stac_api_catalogue import StacApiCatalogue
from conversion_assets.web.authentication import OidcAuth
from conversion_assets_tests.peers.stac_api import StacApi
from conversion_assets_tests.resources.items import SPEC, item

CANARY = "canary-5c1e"
TOKENS = "https://id.test/token"
EVERY = {
    "api_key": f"{CANARY}-1",
    "session_cookie": f"{CANARY}-2",
    "oidc_client_secret": f"{CANARY}-3",
    "oidc_password": f"{CANARY}-4",
}


def headers_sent(authentication: Authentication, peer: StacApi) -> dict[str, str]:
    with httpx.Client(auth=authentication.auth(peer.url)) as client:
        client.get(peer.url)
    return dict(peer.requests[-1].headers)


def test_api_key_is_sent_in_its_header(stac_api: StacApi) -> None:
    assert headers_sent(Authentication(api_key="k"), stac_api)["x-api-key"] == "k"
    named = Authentication(api_key="k", api_key_header="X-Token")
    assert headers_sent(named, stac_api)["x-token"] == "k"


def test_session_cookie_is_sent(stac_api: StacApi) -> None:
    assert headers_sent(Authentication(session_cookie="c"), stac_api)["cookie"] == "session=c"


def test_nothing_is_sent_without_credentials_or_to_another_server(stac_api: StacApi) -> None:
    assert Authentication().auth(stac_api.url) is None
    assert Authentication(api_key="").auth(stac_api.url) is None
    with httpx.Client(auth=Authentication(api_key="k").auth("http://another.test")) as client:
        client.get(stac_api.url)
    assert "x-api-key" not in stac_api.requests[-1].headers


def test_oidc_comes_first_and_keeps_its_token() -> None:
    known = Authentication(oidc_token_url=TOKENS, oidc_client_id="c", api_key="k")
    assert isinstance(known.auth("https://api.test"), OidcAuth)
    assert known.auth("https://api.test") is known.auth("https://api.test")
    assert known.auth("https://api.test") is not known.auth("https://other.test")


def test_token_endpoint_without_client_is_told() -> None:
    with pytest.raises(PermanentError, match="no client id"):
        Authentication(oidc_token_url=TOKENS).auth("https://api.test")


def test_secrets_stand_in_no_text() -> None:
    known = Authentication(**EVERY, oidc_token_url=TOKENS, oidc_client_id="c")
    assert set(known.secrets()) == set(EVERY.values())
    assert CANARY not in f"{known!r}{known}{known.auth('https://api.test')!r}"


def test_secret_comes_from_the_environment_and_stays_out_of_dagster(
    stac_api: StacApi, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CATALOGUE_KEY", CANARY)
    stac_api.credentials = {"x-api-key": CANARY}
    catalogue = StacApiCatalogue(
        url=stac_api.url, authentication=Authentication(api_key=dg.EnvVar("CATALOGUE_KEY"))
    )

    @dg.asset
    def published(catalogue: StacApiCatalogue) -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(
            metadata={"href": catalogue.publish(item(), SPEC), "who": repr(catalogue)}
        )

    with dg.DagsterInstance.ephemeral() as instance:
        run = dg.materialize([published], resources={"catalogue": catalogue}, instance=instance)
        told = [dg.serialize_value(entry) for entry in instance.all_logs(run.run_id)]
        record = instance.get_run_by_id(run.run_id)
        assert record is not None
        told.append(json.dumps(record.run_config))
    assert run.success
    assert list(stac_api.store.items) == [(SPEC.id, item()["id"])]
    assert CANARY not in "".join([*told, *capfd.readouterr()])
