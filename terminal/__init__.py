"""The terminal: options, output and errors of the commands."""
