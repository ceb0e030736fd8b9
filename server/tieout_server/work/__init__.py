"""Durable work: what must be done, by whom, when, and the engine behind it."""
