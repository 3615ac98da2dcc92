"""The watch page: an HTTP server that shows a run. It only reads, and says nothing of where files lie.

`app.py` has the addresses, `guard.py` what keeps strangers out, `run_files.py` what is read from a run's folder, and
`static/` the page.
"""
