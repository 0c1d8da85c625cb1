"""Jobs: one piece of work each, started once, monitored together, retried if that can help."""
