"""An organisation's books: what stands in them, how they come about, what may happen to them, whether they add up."""
