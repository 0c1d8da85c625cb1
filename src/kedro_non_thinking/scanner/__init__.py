"""Reading files of every form and judging them by the rules."""
