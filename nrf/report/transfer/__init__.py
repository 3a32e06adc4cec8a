"""The page of the study of transferability, from transfer.json.

sections.py has the page, claims.py its verdicts and its line, plots.py its pictures.
"""

from nrf.report.transfer.results import load
from nrf.report.transfer.sections import html
from nrf.report.transfer.table import table

__all__ = ["html", "load", "table"]
