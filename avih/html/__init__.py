"""Pages that open without a network: markup, charts, tables and one style for all reports."""
