"""Tasks: what is asked about a word, what the right answer is, how an answer is marked, and the examples made so."""
