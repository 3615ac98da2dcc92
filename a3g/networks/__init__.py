"""Networks, and what belongs to their parameters."""
