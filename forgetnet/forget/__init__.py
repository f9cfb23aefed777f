"""The path of a forget: plan, journal, execute, verify, receipt."""
