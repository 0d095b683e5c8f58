"""A batch-job client for PLANTA project servers, and a server to rehearse with."""
