"""The maps of the imports in the architecture page are those of the code, and its walls have reasons."""

from __future__ import annotations

import tomllib
from graphlib import CycleError
from pathlib import Path

import grimp
import pytest

from docs.import_map import HOUSE, PAGE, ROOT, STAGES, Layer, edges, filled, generated, main, unimplied

LINTER = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
CONTRACTS = {one["name"]: one for one in LINTER["contracts"]}
ROOTS = LINTER["root_packages"]


def test_the_committed_page_is_the_generated_one() -> None:
    """`make map` would change nothing."""
    assert PAGE.read_text() == generated(PAGE.read_text())


def test_the_map_is_written_into_a_page_that_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Main fills the markers and leaves the text around them."""
    names = ("rules", "map of the house", "map of the stages")
    bare = PAGE.read_text()
    for name in names:
        bare = filled(bare, name, "")
    (tmp_path / "architecture.md").write_text(bare)
    monkeypatch.setattr("docs.import_map.PAGE", tmp_path / "architecture.md")
    main()
    assert (tmp_path / "architecture.md").read_text() == PAGE.read_text()
    with pytest.raises(ValueError, match="no markers for the rules"):
        filled("# a page", "rules", "")


def test_a_module_without_a_room_is_an_error() -> None:
    """A new package cannot be left off the map."""
    layers = (Layer("only", ("stages.base",)),)
    with pytest.raises(ValueError, match=r"stages\.new is in no room"):
        edges({"stages.new": (), "stages.base": ()}, layers)


def test_an_arrow_that_others_imply_is_left_out() -> None:
    """A → b → c says a → c; a cycle is an error that names its rooms."""
    assert unimplied({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == {"a": {"b"}, "b": {"c"}, "c": set()}
    with pytest.raises(CycleError):
        unimplied({"a": {"b"}, "b": {"a"}})


def test_no_room_is_drawn_twice() -> None:
    """A room of a map has one place."""
    for layers in (HOUSE, STAGES):
        rooms = [room for layer in layers for room in layer.rooms]
        assert len(rooms) == len(set(rooms))


def test_every_wall_has_a_reason() -> None:
    """The list under the rules names each contract once, in their order."""
    text = PAGE.read_text().partition("Why each wall stands:")[2].partition("\n## ")[0]
    assert [line.split("**")[1] for line in text.splitlines() if line.startswith("- **")] == list(CONTRACTS)


def test_every_room_of_the_house_has_its_layer() -> None:
    """A new root package, and a new room of the pipeline: the linter demands this inside one package only."""
    contract = CONTRACTS["imports run one way"]
    rooms = grimp.build_graph("pipeline", cache_dir=None).find_children("pipeline")
    named = {one.strip() for layer in contract["layers"] for one in layer.split("|")}
    assert named == {*ROOTS, *rooms} - {"pipeline"}
    inside = [one for one in CONTRACTS.values() if one["type"] == "layers" and one != contract]
    assert all(one["exhaustive"] for one in inside)


def test_every_module_of_the_queries_is_denied_the_keys_or_known_to_use_them() -> None:
    """A new module cannot come between the search server and the keys unseen."""
    modules = grimp.build_graph("pipeline", cache_dir=None).find_children("pipeline.queries")
    denied = set(CONTRACTS["the search server holds no key"]["source_modules"])
    assert modules - denied == {f"pipeline.queries.{name}" for name in ("cohort", "search", "vector")}


def test_every_package_of_the_stages_has_its_place_behind_the_walls() -> None:
    """A new stage is named where servers, the verifier and the engine are forbidden to go."""
    children = grimp.build_graph("stages", cache_dir=None).find_children("stages")
    servers = CONTRACTS["servers know errors of the stages and nothing else"]["forbidden_modules"]
    assert set(servers) == children - {"stages.errors"}
    alone = CONTRACTS["the verifier stands alone"]["forbidden_modules"]
    assert children - {"stages.index"} <= set(alone)
    engine = CONTRACTS["the engine names no stage"]["forbidden_modules"]
    assert set(engine) == {f"stages.{path.parent.name}" for path in ROOT.glob("stages/*/options.py")}


def test_dashboards_are_kept_from_all_of_the_pipeline_but_the_metrics_table() -> None:
    """A new room of the pipeline is named where dashboards are forbidden to go."""
    rooms = grimp.build_graph("pipeline", cache_dir=None).find_children("pipeline")
    denied = CONTRACTS["dashboards read the metrics table and nothing else"]["forbidden_modules"]
    assert rooms - set(denied) == {"pipeline.metrics"}
