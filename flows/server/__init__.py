"""Everything that runs deployments on this machine: a Prefect server, an MLflow server and workers."""
