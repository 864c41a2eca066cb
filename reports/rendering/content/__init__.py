"""What a report says, as data and text."""
