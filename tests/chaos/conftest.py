collect_ignore = ["hooks.py"]  # what it patches when it is loaded is patched for good: never in this process
