"""Keys: made, sealed, stored, put through their states; and the vault of sealed originals."""

from avih.keys.key import (
    GeneratorFacts,
    Key,
    Secret,
    canonical_safetensors,
    compute_key_id,
    new_secret,
    read_generator_facts,
)
from avih.keys.passphrase import Passphrase, find_passphrase, forget_prompt
from avih.keys.sealing import ScryptCost, open_sealed, seal, write_sealed
from avih.keys.states import KeyLog, LogEntry, State, may_protect, may_recover, verify_log
from avih.keys.store import KeyRecord, KeyStore
from avih.keys.vault import GalleryVault, Vault

__all__ = [
    "GalleryVault",
    "GeneratorFacts",
    "Key",
    "KeyLog",
    "KeyRecord",
    "KeyStore",
    "LogEntry",
    "Passphrase",
    "ScryptCost",
    "Secret",
    "State",
    "Vault",
    "canonical_safetensors",
    "compute_key_id",
    "find_passphrase",
    "forget_prompt",
    "may_protect",
    "may_recover",
    "new_secret",
    "open_sealed",
    "read_generator_facts",
    "seal",
    "verify_log",
    "write_sealed",
]
