"""A report as one HTML file that needs nothing else: no network, no server, no other file."""

from harness.report.html.page import page

__all__ = ["page"]
