"""GPU nodes on rented machines: a runner, jobs, Studios and prices of Lightning AI, as a Kedro plugin."""
