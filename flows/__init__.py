"""When: order, retries, concurrency, resources and gates of the stages; no arithmetic, no file formats."""
