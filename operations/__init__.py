"""Objectives, drift, cost, incidents. An empty app for now."""
