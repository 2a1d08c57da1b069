"""What is wrong around a store, and how to put it right: the logic of ``avih doctor``."""
