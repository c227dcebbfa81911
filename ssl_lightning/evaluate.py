"""`ssl-evaluate`: a protocol on the frozen encoder of a run, beside its controls."""

from ssl_lightning.cli.command import command

main = command("evaluate")

if __name__ == "__main__":
    main()
