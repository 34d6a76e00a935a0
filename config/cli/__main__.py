"""`python -m config.cli`: what the launcher in scripts/placet runs."""

from config.cli.app import app

if __name__ == "__main__":
    app(prog_name="placet")
