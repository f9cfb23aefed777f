"""Models that forget exactly: experts over a frozen encoder and a deletable memory."""
