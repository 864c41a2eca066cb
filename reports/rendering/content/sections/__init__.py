"""The sections of a report, as blocks that no format owns; `order.py` has the order of the report."""
