"""`ssl-export`: the weights of a run for other libraries."""

from ssl_lightning.cli.command import command

main = command("export")

if __name__ == "__main__":
    main()
