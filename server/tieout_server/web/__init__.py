"""The HTTP edge: the page a person sees after consenting at Xero, Xero's webhooks, health and figures for machines."""
