"""Finds out how a server talks, from recordings of the client that it has, and checks a dialect against them."""
