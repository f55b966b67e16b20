"""The bookshop: authors, books, reviews, orders, and pages that cache in every way Django offers."""
