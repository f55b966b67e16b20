"""The bookshop app. Its pages use the cache in all the usual ways."""
