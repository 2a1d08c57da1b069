"""Keys: made, sealed, stored, put through their states; and the vault of sealed originals."""

from avih.keys.budget import LeakBudget
from avih.keys.canonical import GeneratorFacts, canonical_safetensors, read_generator_facts
from avih.keys.key import Key, Secret, compute_key_id, new_secret
from avih.keys.log import KeyLog, LogEntry, verify_log
from avih.keys.passphrase import Passphrase, find_passphrase, forget_prompt
from avih.keys.pool import prepared_key
from avih.keys.records import KeyRecord
from avih.keys.sealing import ScryptCost, open_sealed, seal, write_sealed
from avih.keys.states import State, may_protect, may_recover
from avih.keys.store import KeyStore
from avih.keys.vault import GalleryVault, Vault

__all__ = [
    "GalleryVault",
    "GeneratorFacts",
    "Key",
    "KeyLog",
    "KeyRecord",
    "KeyStore",
    "LeakBudget",
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
    "prepared_key",
    "read_generator_facts",
    "seal",
    "verify_log",
    "write_sealed",
]
