"""Tables, Markdown and HTML pages of what a run measured. Reads results; computes none."""

from __future__ import annotations

from mergeward.report.html import write_page
from mergeward.report.table import controls_table, markdown_controls, markdown_table, results_table

__all__ = ["controls_table", "markdown_controls", "markdown_table", "results_table", "write_page"]
