"""Studios: one for each task, set up the same way every time from what ``compute.yml`` declares."""
