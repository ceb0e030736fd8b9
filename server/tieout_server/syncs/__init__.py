"""From Xero to here: what is read, in which order, and how far it has come."""
