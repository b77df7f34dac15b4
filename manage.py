#!/usr/bin/env python3
"""All of ScraperSky's commands: `manage.py --help`."""

from app.cli.main import main

if __name__ == "__main__":
    main()
