"""Pages and figures: how results are shown. Knows nothing of what is shown."""
