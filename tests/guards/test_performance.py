"""docs/performance.md holds to what was measured, and every bar has a stage that measures it."""

from __future__ import annotations

import re
from importlib import import_module
from xml.etree import ElementTree as ET

import pytest

from benchmarks import page, record
from benchmarks.bars import BARS
from benchmarks.runner import STAGES
from tests.running import ROOT

RESULTS = record.kept()


def test_the_page_is_what_the_generator_makes_of_the_results():
    text = page.PAGE.read_text(encoding="utf-8")
    assert text == page.filled(text, RESULTS), "run manage.py bench --render"


def test_the_pictures_are_what_the_generator_makes_of_the_results():
    drawn = {path.name: path.read_text(encoding="utf-8") for path in page.PICTURES.glob("*")}
    assert drawn == page.pictures(RESULTS), "run manage.py bench --render"


def test_every_result_kept_is_shown():
    shown = re.findall(r"<!-- bench: ([\w-]+) -->", page.PAGE.read_text(encoding="utf-8"))
    assert sorted(shown) == sorted({*STAGES, *RESULTS, "bars"})


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_can_be_run_and_names_its_bars(stage):
    module = import_module(f"benchmarks.{stage}")
    assert callable(module.run)
    source = (ROOT / "benchmarks" / f"{stage}.py").read_text(encoding="utf-8")
    for name, bar in BARS.items():
        assert (f'"{name}"' in source) == (bar.stage == stage), name


def test_every_bar_belongs_to_a_stage():
    assert {bar.stage for bar in BARS.values()} <= set(STAGES)


@pytest.mark.parametrize("name", sorted(page.pictures(RESULTS)))
def test_a_picture_stays_within_its_frame(name):
    drawing = ET.fromstring((page.PICTURES / name).read_text(encoding="utf-8"))
    width, height = float(drawing.get("width")), float(drawing.get("height"))
    for one in drawing:
        assert 0 <= float(one.get("x", 0)) + float(one.get("width", 0)) <= width
        assert 0 <= float(one.get("y", 0)) + float(one.get("height", 0)) <= height


def test_a_figure_is_judged_by_its_bar():
    result = {"mode": "full", "load": 1.5, "machine": {"processors": 2}, "bars": {"land_copy": 2.6}}
    rows = page.bars({"land": result}).splitlines()
    [row] = [line for line in rows if "landing rows" in line]
    assert row.endswith("| ≤ 1.3 ×, stretch 1.1 | 2.6 × | not met: 2.00 × the bar |")
    for other in ({"mode": "short"}, {"load": 2.5}):
        assert "2.00 × the bar; busy machine |" in page.bars({"land": {**result, **other}})
    assert sum(line.endswith("not measured yet |") for line in rows) == len(BARS) - 1
