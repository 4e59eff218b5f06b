"""What our users would do instead: other ways of choosing commands, and drivers of other packages."""
