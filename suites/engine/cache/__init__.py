"""What was computed once and is found again: the scores of requests, and what is kept beside them."""
