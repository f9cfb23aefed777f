"""An independent look at what a forget left behind; imports nothing of what deletes."""
