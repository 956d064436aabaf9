"""A front desk over a handbook: it answers with citations, fills in forms, and knows when to call a person."""
