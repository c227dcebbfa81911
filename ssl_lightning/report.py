"""`ssl-report`: runs side by side."""

from ssl_lightning.cli.command import command

main = command("report")

if __name__ == "__main__":
    main()
