"""The helpers of the tests, one module for each thing."""
