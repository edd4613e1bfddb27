from __future__ import annotations

import pytest

from microweb.server.buffered import FREE_BYTES, Budget, Share

MIB = 1 << 20


class Clients:
    """A budget of 10 MiB, with a clock, and the names of the shares that were lost."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.budget = Budget(10 * MIB, lambda: self.now)
        self.lost: list[str] = []

    def share(self, name: str, address: str = "a") -> Share:
        return Share(self.budget, address, lambda: self.lost.append(name))


@pytest.fixture
def clients() -> Clients:
    return Clients()


def test_small_shares_are_not_counted(clients: Clients) -> None:
    for number in range(1000):
        clients.share(str(number)).hold(FREE_BYTES, FREE_BYTES)
    assert clients.budget.total == 0
    assert clients.lost == []


def test_shares_up_to_the_limit_are_kept(clients: Clients) -> None:
    for number in range(10):
        clients.share(str(number)).hold(MIB, MIB)
    assert (clients.budget.total, clients.lost) == (10 * MIB, [])


def test_share_that_shrinks_or_ends_makes_room(clients: Clients) -> None:
    first, second, third = (clients.share(name) for name in "abc")
    first.hold(9 * MIB, 9 * MIB)
    first.hold(MIB, 0)
    second.hold(8 * MIB, 8 * MIB)
    second.release()
    third.hold(9 * MIB, 9 * MIB)
    assert (clients.budget.total, clients.lost) == (10 * MIB, [])
    first.release()
    third.release()
    assert clients.budget.total == 0


def test_the_slowest_is_lost_first(clients: Clients) -> None:
    quick, slow, slower = (clients.share(name) for name in ("quick", "slow", "slower"))
    for share in (quick, slow, slower):
        share.hold(3 * MIB, 3 * MIB)
    for _ in range(20):
        clients.now += 1
        quick.hold(3 * MIB, MIB)
        slow.hold(3 * MIB, 10)
        slower.hold(3 * MIB, 9)
    clients.share("new").hold(2 * MIB, 2 * MIB)
    assert clients.lost == ["slower"]
    quick.hold(6 * MIB, MIB)
    assert clients.lost == ["slower", "slow"]


def test_one_that_stands_still_is_slower_than_one_that_is_slow(clients: Clients) -> None:
    still, slow = clients.share("still"), clients.share("slow")
    still.hold(5 * MIB, 5 * MIB)
    for number in range(50):
        clients.now += 1
        slow.hold(number * 100 * 1024, 100 * 1024)
    slow.hold(6 * MIB, MIB)
    assert clients.lost == ["still"]


def test_the_address_that_holds_most_loses(clients: Clients) -> None:
    other = clients.share("other", "b")
    other.hold(2 * MIB, 2 * MIB)
    clients.now += 1000  # now it is the slowest share
    for number in range(20):
        clients.share(str(number)).hold(MIB, MIB)
    assert "other" not in clients.lost
    assert len(clients.lost) >= 12
    assert clients.budget.total <= 10 * MIB


def test_who_holds_little_takes_no_part(clients: Clients) -> None:
    clients.share("large", "a").hold(9 * MIB, 9 * MIB)
    clients.now += 10
    clients.share("small", "b").hold(2 * MIB, 2 * MIB)
    assert clients.lost == ["large"]
    assert clients.budget.total == 2 * MIB


def test_one_alone_over_the_limit_is_lost(clients: Clients) -> None:
    clients.share("only").hold(11 * MIB, 11 * MIB)
    assert (clients.lost, clients.budget.total) == (["only"], 0)
