"""Who may see which organisation: consent, codes, tokens and connections, as login and identity.xero.com do it."""
