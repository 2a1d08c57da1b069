"""The attacks of the lab, one file each; :mod:`avih.lab.registry` names them in their order."""
