"""How well a protected gallery hides, recovers and is still recognised: metrics, summaries and charts.

Import from the modules: this file stays empty of imports, so that the arithmetic needs neither matplotlib
nor torch.
"""
