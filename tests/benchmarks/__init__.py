"""Measurements, run by `make bench`; numbers are printed, never asserted."""
