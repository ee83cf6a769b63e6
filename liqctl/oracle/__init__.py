"""Price accounts and price services to core prices."""
