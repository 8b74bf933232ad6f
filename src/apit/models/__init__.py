"""Networks: separators, and the discriminators that judge them."""
