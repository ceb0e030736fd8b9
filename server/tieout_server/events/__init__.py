"""The numbered log behind every watch, and its delivery: what was missed first, then what happens."""
