"""Payments on their way into Xero: accepted once, sent exactly once, proven, and clear about it when not."""
