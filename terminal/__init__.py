"""The terminal: options, output and errors of the commands. Only this package imports rich's widgets."""
