"""The security lab: what somebody without the key gets out of a protected gallery, and how sure that is."""
