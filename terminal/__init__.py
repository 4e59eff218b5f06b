"""Options, terminal output and error messages of the commands."""
