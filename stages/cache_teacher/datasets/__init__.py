"""Datasets that stage 1 can read."""
