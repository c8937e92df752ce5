"""The commands, one file each: HELP, `add_arguments(parser)` and `run(arguments)`. `__main__` puts them together."""
