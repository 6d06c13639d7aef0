"""Statistics of the referee: intervals that cover at three seeds, declared families, effect sizes, what was detectable.

`harness validate-statistics` measures what this package promises, by simulation.
"""
