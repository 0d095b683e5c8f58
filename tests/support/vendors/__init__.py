"""Made-up vendors: their servers and old clients, and recordings of what they say. They share no code with the package
but the format of recordings."""
