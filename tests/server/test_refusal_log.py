"""Records about refusals, which clients can cause without end."""

from __future__ import annotations

import pytest

from microweb.concurrency.throttle import Throttle
from microweb.server import refusal_log
from microweb.server.refusal_log import log_refusal


def test_record_counts_those_that_were_left_out(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO", "microweb.protocol")
    monkeypatch.setattr(refusal_log, "_refusals", Throttle(3600.0, times=2))
    for number in range(5):
        log_refusal("no %s: %d", "entry", number, reason="a reason", client="192.0.2.1")
    assert caplog.messages == ["no entry: 0", "no entry: 1"]
    monkeypatch.setattr(refusal_log._refusals, "_ends_at", 0.0)
    log_refusal("no %s: %d", "entry", 5, reason="a reason", client="192.0.2.1")
    fields = [vars(record) for record in caplog.records]
    assert [each["suppressed"] for each in fields] == [None, None, 3]
    assert {(each["reason"], each["client"]) for each in fields} == {("a reason", "192.0.2.1")}
