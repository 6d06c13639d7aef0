"""Reports: one TOML file and finished runs become tables, figures and one page."""
