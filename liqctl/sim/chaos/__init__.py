"""A proxy that breaks a node on purpose: profiles, the choice of faults, changed answers, sockets."""
