"""The link between a merchant and a Xero organisation."""
