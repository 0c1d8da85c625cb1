"""Jobs: one piece of work each, started once, watched together, tried again where that can help."""
