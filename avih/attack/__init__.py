"""The attack check: does a network that is trained on leaked pairs of a key undo the key?"""
