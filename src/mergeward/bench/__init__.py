"""Grids of cells: pools of contributions, merged and measured, cached by content."""

from mergeward.bench.demo import DemoConfig, run_demo
from mergeward.bench.results import Controls, Results, Row

__all__ = ["Controls", "DemoConfig", "Results", "Row", "run_demo"]
