"""What is committed is what the generator writes, and the page says what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dashboards import generate
from dashboards.generate import PAGE, generated
from pipeline.metrics import GOAL_FRAMES_PER_S, TABLE
from pipeline.run.exporter import _SECONDS
from tests.dashboards.conftest import PROMETHEUS


@pytest.mark.parametrize("path", generated(), ids=lambda path: path.name)
def test_the_committed_file_is_the_generated_one(path: Path) -> None:
    """`make dashboards` would change nothing."""
    assert path.read_text() == generated()[path]


def test_all_files_are_written_afresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a tree without them, main writes the same bytes; the page keeps the text around its tables."""
    expected = list(generated().values())
    stale = re.sub(r"^\| (`medsecure|MedSecure).*\n", "", PAGE.read_text(), flags=re.MULTILINE)
    for name in ("DASHBOARD", "RULES", "PAGE"):
        monkeypatch.setattr(generate, name, tmp_path / "new" / name)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "PAGE").write_text(stale)
    generate.main()
    assert [(tmp_path / "new" / name).read_text() for name in ("DASHBOARD", "RULES", "PAGE")] == expected


def test_a_page_without_markers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost marker is an error that names the page, never a page without its table."""
    (tmp_path / "metrics.md").write_text("# Metrics\n")
    monkeypatch.setattr(generate, "PAGE", tmp_path / "metrics.md")
    with pytest.raises(ValueError, match=r"metrics\.md has no markers for the generated table of metrics"):
        generated()


def test_the_figures_on_the_page() -> None:
    """Port, interval, goal, buckets and labels are those of the code and the configuration."""
    page, configuration = PAGE.read_text(), (PROMETHEUS / "prometheus.yml").read_text()
    (port,) = set(re.findall(r"--metrics-port (\d+)", page))
    assert f"127.0.0.1:{port}" in page
    assert f'targets: ["127.0.0.1:{port}"]' in configuration
    assert "every five seconds" in page
    assert "scrape_interval: 5s" in configuration
    assert f"the goal of {GOAL_FRAMES_PER_S:g} frames a second" in page
    assert f"from {_SECONDS[0] * 1000:g} ms to {_SECONDS[-1]:g} s" in page
    assert "the only labels are stage and reason" in page
    assert {label for metric in TABLE for label in metric.labels} == {"stage", "reason"}


def test_the_command_on_the_page_names_the_configuration() -> None:
    """The path given to Prometheus is the file that the tests run Prometheus with."""
    (path,) = re.findall(r"--config\.file=(\S+)", PAGE.read_text())
    assert (PAGE.parents[1] / path).samefile(PROMETHEUS / "prometheus.yml")
