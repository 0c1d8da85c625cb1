"""What a person reads: the HTML pages, the findings in words, and the summary of a run."""
