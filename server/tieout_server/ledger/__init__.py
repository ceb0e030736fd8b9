"""The field's own values: money, documents, and what is asked of an accounting system. No I/O."""
