"""A job server that speaks the protocol: for rehearsing, for testing schedulers, for small sites."""
