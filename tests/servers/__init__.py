"""The caches in real programs: gunicorn, uvicorn, Celery, `manage.py runserver`."""
