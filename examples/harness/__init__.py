"""What `demo.py` is made of: the server, the visitors it gets, and how both are shown."""
