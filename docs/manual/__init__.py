"""What the manual is made of beside its pages: a reference from the code, and links that fit."""
