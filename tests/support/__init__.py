"""Helpers of the tests, and the commands that run them on other Pythons and under ThreadSanitizer."""
