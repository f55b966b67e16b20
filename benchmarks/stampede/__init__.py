"""A load test of stampedes: a site with one query of 200 ms and 64 clients, with each cache in turn.

- `scenario`: the figures of the test: timeout, query, clients, rate.
- `contenders`: the caches, and how each one gets the report.
- `site`: what gunicorn serves, and the journal of its queries.
- `clients`: the requests.
- `trial`: one cache's run, from an empty cache to its outcome.
- `outcome`: what is counted of the journal and the requests.
- `report`, `chart`: the table, the JSON and the picture.
"""
