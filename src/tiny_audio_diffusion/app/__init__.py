"""The page of app.py: the pipeline's tasks in a browser, for one person at a laptop or a few on a network."""
