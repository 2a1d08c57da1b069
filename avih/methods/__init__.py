"""The protection methods: each hides pictures in its own way and gives the same kind of result."""
