"""Everything that is drawn in a terminal: rich's widgets are imported here and nowhere else."""
