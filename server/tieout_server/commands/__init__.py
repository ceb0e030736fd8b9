"""The commands of `tieout-server`, by subject. Each imports what it needs as it runs, so that `--help` is quick."""
