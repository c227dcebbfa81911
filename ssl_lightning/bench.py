"""`ssl-bench`: speed and memory of a composed run."""

from ssl_lightning.cli.command import command

main = command("bench")

if __name__ == "__main__":
    main()
