"""What people and programs are told: the summary of a run, and how far it is."""
