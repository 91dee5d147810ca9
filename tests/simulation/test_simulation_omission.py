"""Leaving bidders out costs more than it brings (docs/spec/auction.md, A6b), in figures."""

from tests.simulation.simulate import simulate


def test_who_leaves_bidders_out_pays_more_and_gets_less() -> None:
    honest, cheat = (simulate(f"a-day-with-one-omission-in-{one_in}", "day").figures for one_in in (0, 12))
    assert (honest["tasks"], honest["done"], honest["one bidder"]) == (24, 24, 0)
    assert (cheat["tasks"], cheat["omissions"]) == (24, 2)
    assert cheat["done"] == 22, "who heard the bid that was left out does not take the award"
    assert cheat["one bidder"] == 10, "five more auctions each time without those who heard it"
    assert cheat["cost"] * honest["done"] > honest["cost"] * cheat["done"]
