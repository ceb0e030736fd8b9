"""Webhooks as Xero sends them: signed, batched, retried, at least once and in no promised order."""
