"""The page of the theory: verdicts, figures and corrections, from theory.json.

sections.py has the page, claims.py its verdicts, planes.py and plots.py its pictures.
"""

from nrf.report.theory.results import load
from nrf.report.theory.sections import html

__all__ = ["html", "load"]
