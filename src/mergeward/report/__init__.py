"""Tables, Markdown and HTML pages of what a run measured. Reads results; computes none."""

from __future__ import annotations

from mergeward.report.audit_page import write_audit_page
from mergeward.report.figures import write_figures
from mergeward.report.html import write_page
from mergeward.report.layers import layers_table, masks_table, write_layers_picture, write_masks_picture
from mergeward.report.run_page import write_run_page
from mergeward.report.sarif import audit_sarif
from mergeward.report.table import controls_table, markdown_controls, markdown_table, results_table
from mergeward.report.tradeoff import tradeoff_svg, tradeoff_table

__all__ = [
    "audit_sarif",
    "controls_table",
    "layers_table",
    "markdown_controls",
    "markdown_table",
    "masks_table",
    "results_table",
    "tradeoff_svg",
    "tradeoff_table",
    "write_audit_page",
    "write_figures",
    "write_layers_picture",
    "write_masks_picture",
    "write_page",
    "write_run_page",
]
