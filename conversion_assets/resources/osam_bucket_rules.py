"""Bucket rules of the upstream system, asked of its service OSAM."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from fnmatch import fnmatchcase
from http import HTTPStatus

from pydantic import PrivateAttr

from conversion_assets.errors import PermanentError
from conversion_assets.orders import ANY
from conversion_assets.resources.authentication import Authentication
from conversion_assets.resources.bucket_rules import (
    WRITE_ROWS,
    BucketRule,
    BucketRules,
    most_specific,
    rule_of_row,
)
from conversion_assets.web.client import WebClient

LOG = logging.getLogger(__name__)
PATH = "/internal/configuration"


class OsamBucketRules(BucketRules):
    """Rules as the upstream catalogue and staging service know them, asked for once in a run.

    Attributes:
        url: of the service.
        authentication: credentials for it.
        timeout: seconds to wait for each part of an answer.
    """

    url: str
    authentication: Authentication
    timeout: float = 10

    _rules: tuple[BucketRule, ...] | None = PrivateAttr(default=None)
    _sleep: Callable[[float], None] = PrivateAttr(default=time.sleep)

    def rule_for(self, owner: str, collection: str, product_type: str) -> BucketRule:
        """See ``BucketRules.rule_for``; a client of upstream that would choose otherwise is warned of."""
        rules = self._known()
        rule = most_specific(rules, owner, collection, product_type)
        client_rule = chosen_by_client(rules, owner, collection, product_type)
        if client_rule is None or client_rule.bucket != rule.bucket:
            other = f"bucket {client_rule.bucket}" if client_rule else "none at all"
            LOG.warning(
                "products of %s in %s of type %s go to bucket %s, as the upstream services choose; the"
                " upstream client would have chosen %s",
                *(owner, collection, product_type, rule.bucket, other),
            )
        return rule

    def buckets(self) -> frozenset[str]:
        """See ``BucketRules.buckets``."""
        return frozenset(rule.bucket for rule in self._known())

    def _known(self) -> tuple[BucketRule, ...]:
        if self._rules is None:
            self._rules = self._fetched()
        return self._rules

    def _fetched(self) -> tuple[BucketRule, ...]:
        client = WebClient(
            self.url,
            auth=self.authentication.auth(self.url),
            timeout=self.timeout,
            service="bucket rules",
            secrets=set(self.authentication.secrets()),
            sleep=self._sleep,
        )
        with client:
            answer = client.get(PATH, expect=(HTTPStatus.OK,))
        rows = answer.json
        if not isinstance(rows, list) or not rows:
            is_empty = rows == [] or answer.text.strip() == "null"
            raise PermanentError(
                f"bucket rules ({client.base_url}{PATH})",
                "the service has no rules" if is_empty else "its answer is no list of rows",
                "Give the service its file of rules (BUCKET_CONFIG_FILE_PATH).",
            )
        return tuple(self._rule(row, number) for number, row in enumerate(rows, start=1))

    def _rule(self, row: object, number: int) -> BucketRule:
        try:
            return rule_of_row(_texts(row))
        except ValueError as error:
            raise PermanentError(
                f"bucket rules of {self.url}, row {number}", f"{error}", WRITE_ROWS
            ) from error


def _texts(row: object) -> list[str]:
    if not isinstance(row, list) or not all(isinstance(cell, str) for cell in row):
        raise ValueError("it is no list of texts")
    return row


def chosen_by_client(
    rules: tuple[BucketRule, ...], owner: str, collection: str, product_type: str
) -> BucketRule | None:
    """Choose as the upstream client does, which differs from its services.

    Of the rows whose patterns match all three, the first that names owner and collection, else the first
    that names the owner with any collection, else the first for everything. A row with a pattern matches
    and is never chosen.
    """
    matching = [
        rule
        for rule in rules
        if fnmatchcase(owner, rule.owner)
        and fnmatchcase(collection, rule.collection)
        and fnmatchcase(product_type, rule.product_type)
    ]
    for level in ((owner, collection), (owner, ANY)):
        for rule in matching:
            if (rule.owner, rule.collection) == level:
                return rule
    everything = (rule for rule in matching if (rule.owner, rule.collection, rule.product_type) == (ANY,) * 3)
    return next(everything, None)
