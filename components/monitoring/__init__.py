"""Scrape targets, alerts and a dashboard across all layers."""
