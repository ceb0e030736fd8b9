"""The read side: customers with their balances, invoices, credits and payments, as the mirror has them."""
