"""The gRPC edge: requests become calls of the subjects, values become messages, errors become statuses."""
