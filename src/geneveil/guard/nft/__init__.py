"""One `nft` for all of our tables."""
