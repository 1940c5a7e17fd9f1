"""Facts about models: which vendor serves them, and what they cost."""
