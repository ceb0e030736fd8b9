"""The page in the browser: what stands in the sandbox, and what a bookkeeper or an administrator would do in it."""
