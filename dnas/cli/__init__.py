"""Command lines: one module for each script, which only compose."""
