"""Who calls, what each caller may do and see, how much of it, and what is kept on record of it."""
