from __future__ import annotations

import gc

from microweb.channels import Channels
from microweb.concurrency.subscribers import note_subscribers, subscribers


class Owner:
    """An object with subscribers."""


def test_subscribers_of_all_objects_that_exist_are_summed() -> None:
    gc.collect()
    before = subscribers()
    first, second = Owner(), Owner()
    note_subscribers(first, lambda: 3)
    note_subscribers(second, lambda: 4)
    assert subscribers() - before == 7
    del first
    gc.collect()
    assert subscribers() - before == 4


async def test_subscriptions_of_channels_count() -> None:
    before = subscribers()
    channels = Channels()
    async with channels["a"].subscribe(), channels["a"].subscribe(), channels["b"].subscribe():
        assert subscribers() - before == 3
    assert subscribers() == before
