"""`ssl-generate`: a trained method does its pretext task on what the user gives."""

from ssl_lightning.cli.command import command

main = command("generate")

if __name__ == "__main__":
    main()
