"""Exploration: finding ways through the stages without a network, and keeping them as demonstrations.

May import `game` only.
"""
