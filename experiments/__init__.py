"""Tables, figures and comparisons, made from `agents`, `games` and `actde`; nothing else imports this package."""
