"""Whether both sides agree: balances compared per customer and currency, differences named, repaired and proven."""
