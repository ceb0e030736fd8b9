"""The HTTP edge: the page a person sees after consenting at Xero, and health for machines."""
