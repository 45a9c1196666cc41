"""Matchbox's own words: groups, profiles, selection, rendering and the endpoint."""
