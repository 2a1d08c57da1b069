"""Scale-out: what a shard costs beyond its own work when Dask workers make it, and how that grows with them."""
