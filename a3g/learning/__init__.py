"""What is learnt, and how. Knows no processes."""
