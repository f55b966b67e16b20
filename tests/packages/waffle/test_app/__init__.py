"""What waffle's tests import from the `test_app` of its repository, which its source package lacks."""
