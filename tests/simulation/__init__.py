"""Pacing measured in simulated time: servers, laws, and the events between them."""
