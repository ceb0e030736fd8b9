"""The Accounting API, `/api.xro/2.0`: what is asked, what is answered, byte for byte as Xero writes it."""
