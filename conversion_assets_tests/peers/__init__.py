"""Peers: small servers that speak as the real services were heard to speak, traps included.

``with serving(StacApi()) as api:`` listens on ``api.url`` until the block is left, from where on connections
are refused. ``api.requests`` holds what came in, and ``api.add(Trouble(…))`` makes the weather::

    Trouble(status=503, times=2)                            twice 503, then all is well
    Trouble(status=429, headers={"Retry-After": "1"})
    Trouble(reset=True)                                     reset, nothing was done
    Trouble(reset=True, after_work=True, method="POST")     reset, but it was done
    Trouble(cut_after=10)                                   the answer ends in its middle
    Trouble(seconds=60, after_work=True)                    done, and an answer after a minute
    Trouble(status=201, body="no JSON", after_work=True)    done, and an answer that lies

``api.credentials = {"x-api-key": "…"}`` answers 401 to requests without. Jobs of staging and conversion
have ``failures`` (messages), ``endless`` and, for conversions, ``says`` and ``read_only``.
"""
