"""`around` is a connected organisation with its books."""

from open_organisation import around

__all__ = ["around"]
