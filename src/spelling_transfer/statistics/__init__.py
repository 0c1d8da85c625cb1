"""Every interval, test, resampling, correlation, importance and score: pure functions on arrays, with their source."""
