"""One module a verb: `EXAMPLE`, `add_arguments(parser)`, `run(options) -> exit code`."""
