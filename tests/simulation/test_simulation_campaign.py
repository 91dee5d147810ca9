"""Many seeds: a report that was broken off is gone on from, and never mixed with another's."""

from pathlib import Path

import pytest

from tests.simulation.campaign import OtherReport, run_campaign, summarize


def test_a_report_is_gone_on_from_and_no_seed_runs_twice(tmp_path: Path) -> None:
    report = tmp_path / "calm.jsonl"
    first = run_campaign("calm", ["1"], jobs=1, report=report)
    both = run_campaign("calm", ["1", "2"], jobs=1, report=report)
    assert both[0] == first[0], "read from the report, its CPU time included"
    assert len(report.read_text().splitlines()) == 1 + 2
    assert summarize("calm", both).startswith("calm: 2 simulations, 0 violations\n")
    with pytest.raises(OtherReport):
        run_campaign("lossy", ["1"], jobs=1, report=report)


def test_a_report_of_other_code_is_refused(tmp_path: Path) -> None:
    report = tmp_path / "calm.jsonl"
    report.write_text('{"scenario": "calm", "code": "older"}\n')
    with pytest.raises(OtherReport):
        run_campaign("calm", ["1"], jobs=1, report=report)
